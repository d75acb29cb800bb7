"""The networks, one file each; the only part of inference/ that needs torch."""

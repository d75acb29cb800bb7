"""What drawn cines are worth."""

"""One file a command: its options and what it does. Only these files print."""

"""The stages of learning. Each is a function and a command, and writes a folder that the next stage reads."""

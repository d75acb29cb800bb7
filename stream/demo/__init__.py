"""The demonstration: embedded servers, child processes, an account of what was answered."""

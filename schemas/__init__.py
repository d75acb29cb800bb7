"""Messages, topics and errors: all that a device fleet or a dashboard needs, and light to import."""

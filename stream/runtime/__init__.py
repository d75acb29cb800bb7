"""What every process that serves a topic is made of: the Faust app, health, metrics, watchdog."""

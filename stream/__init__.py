"""Kafka, Redis, HTTP, settings and the command line: the only place that wires things together."""

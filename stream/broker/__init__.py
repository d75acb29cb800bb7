"""Kafka clients as the settings describe them, and what a broker may say against us."""

"""Kafka clients as the settings describe them, and why a broker may refuse us."""

"""Answers on Kafka's topics into Parquet tables, exactly once."""

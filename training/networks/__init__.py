"""Networks that are needed for learning only; what serves is in inference/models."""

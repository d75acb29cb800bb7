"""Networks that only learning needs. The networks that serve are in inference/models."""

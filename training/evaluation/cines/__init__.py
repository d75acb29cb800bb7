"""The evaluation of drawn cines."""

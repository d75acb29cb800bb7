"""The cmr-worker: the cines of flagged ECGs, drawn and kept in Redis."""

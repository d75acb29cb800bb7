"""Judges a model's answers to a public archive by the archive's own table of labels."""

"""Cohorts and learning; `training.cohort` is light and may be used where no torch is installed."""

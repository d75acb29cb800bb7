"""Simulated patients, by NumPy and SciPy alone."""

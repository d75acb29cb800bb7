"""Simulated patients, by NumPy and SciPy alone: hearts, ECGs, cines, measurements."""

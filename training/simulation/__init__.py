"""Simulated patients: hearts, ECGs, cines and measurements, computed with NumPy and SciPy alone."""

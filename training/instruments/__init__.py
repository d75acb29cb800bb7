"""Instruments: they measure ECGs, outline left ventricles on cines, and fit linear models on tables."""

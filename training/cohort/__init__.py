"""Cohorts on disk: their layout, their writer, and the readers of MIMIC-IV-ECG, UK Biobank and labelled ECG files."""

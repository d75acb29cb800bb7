"""The evaluation of a model: figures with intervals, calibration, subgroups, and baselines."""

"""How good a model is: on whom, how sure, how well calibrated, for whom, and against which baselines."""

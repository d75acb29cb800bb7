"""What measures: ECG intervals, left ventricles on cines, linear models on tables."""

"""A cohort on disk, simulated or real: an index in Parquet, and arrays that are mapped into memory, never loaded.

```
cohort.json       what it is: `Description`
index.parquet     one row an ECG, see `COLUMNS`
ecgs.npy          (rows, 12, 5000) int16, `MICROVOLTS_PER_STEP` a step, 500 Hz, leads in the order of `LEADS`
cines.npy         (scans, 50, 96, 96) uint8: four-chamber cines; absent where there are none
short_axis.npy    the same of the middle of the left ventricle; absent where there are none
```

A row's `cine` is its scan's place in `cines.npy`, or -1; a scan may belong to several ECGs. What is not known of a row
is null: a label, a phenotype, the sex.
"""

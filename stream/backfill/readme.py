"""The README of a dataset: how DuckDB, Polars, pandas and Spark read it."""

from __future__ import annotations

from schemas.messages import NOTICE, ModelReference

TEXT = """# ECGs screened by CardiacNets

{notice}

Model {model.name} {model.version}: {model.weights}. `manifest.json` says from which archive and with which settings.

- `screened/*.parquet`: a row for each ECG that was screened: the archive's own columns, probabilities and flags of the
  five diseases, 82 measurements as cardiac MR would give them, an embedding, what was doubted of the signal, and in
  columns `ecg_…` the ECG's own rate, intervals and axes.
- `refused/*.parquet`: a row for each other ECG: `code` and `detail` say why.
- `plan.parquet`: all ECGs in order. Each of them has a row in one of the two tables.

A column of the archive's list that has the name of one of our columns is called `archive_` and its name. Units and
descriptions of columns are in the schema's metadata: `pyarrow.parquet.read_schema(file).field("LVEF").metadata`.

DuckDB:
```sql
SELECT path, probability_heart_failure, "LVEF" FROM 'screened/*.parquet' WHERE flagged_heart_failure;
SELECT code, count(*) FROM 'refused/*.parquet' GROUP BY code;
```

Polars: `polars.scan_parquet("screened/*.parquet")`. pandas: `pandas.read_parquet("screened")`. Spark:
`spark.read.parquet("screened")`.
"""


def readme_of(model: ModelReference) -> str:
    """Return the README of a dataset that this model makes."""
    return TEXT.format(notice=NOTICE, model=model)

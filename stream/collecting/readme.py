"""The README of a dataset: what its files are, and how DuckDB, Polars, pandas and Spark read them."""

from __future__ import annotations

from schemas.messages import NOTICE

TEXT = """# ECGs screened by CardiacNets, collected from Kafka

{notice}

`manifest.json` says from which topics, and of which lane. `model_version` and `model_weights` say which model answered:
a dataset may hold several.

- `screened/*.parquet`: a row for each report: probabilities and flags of the five diseases, 82 measurements as cardiac
  MR would give them, what was doubted of the signal, and where the report lay: `kafka_partition`, `kafka_offset`.
- `refused/*.parquet`: a row for each rejection: `code` and `detail` say why.

A file's name says which offsets of which partition were read. Do not rename a file. The same command reads the offsets
of a file that was removed again, while Kafka keeps them. Units and descriptions of columns are in the metadata:
`pyarrow.parquet.read_schema(file).field("LVEF").metadata`.

DuckDB:
```sql
SELECT record_id, probability_heart_failure, "LVEF" FROM 'screened/*.parquet' WHERE flagged_heart_failure;
SELECT code, count(*) FROM 'refused/*.parquet' GROUP BY code;
```

A worker that was killed may answer twice, under the same id. Such a repetition has no row of its own, unless 10,000
other rows of its partition lie between, as after a second publishing of an archive. One row a report:
```sql
SELECT * FROM 'screened/*.parquet' QUALIFY row_number() OVER (PARTITION BY report_id ORDER BY created_at) = 1;
```

Polars: `polars.scan_parquet("screened/*.parquet")`. pandas: `pandas.read_parquet("screened")`. Spark:
`spark.read.parquet("screened")`.
"""


def readme() -> str:
    """Return the README of a dataset."""
    return TEXT.format(notice=NOTICE)

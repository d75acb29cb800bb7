"""The columns of the two tables: those of a backfill as far as an answer knows them, then what only an answer says."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from inference.phenotypes import MEASUREMENTS
from schemas.messages import DISEASES, NOTICE, SUBTYPES, Rejection, RiskReport
from stream.backfill.columns import (
    as_json,
    measurement_values,
    number_field,
    refused_fields,
    screened_fields,
    typed_field,
    values_of,
)

SCHEMA_VERSION = "1"
UNKNOWN_TO_A_REPORT = frozenset({"embedding"})
_UNITS = {known.name: known.unit for known in MEASUREMENTS}


def _delivery_fields() -> list[pa.Field]:
    return [
        typed_field("created_at", pa.timestamp("us", "UTC"), "when the answer was made"),
        typed_field("lane", pa.string(), "where the ECG came from: realtime, backfill, or null where nobody says so"),
        typed_field("kafka_partition", pa.int32(), "of the topic that the answer lay on"),
        typed_field("kafka_offset", pa.int64(), "of the answer on its partition"),
    ]


def _screened_schema() -> pa.Schema:
    flags: dict[str, str] = dict.fromkeys(
        DISEASES, "whether it is detected: the ECG is assessable, and the probability at least the threshold"
    )
    found = screened_fields(flags, SUBTYPES, _UNITS)
    return pa.schema(
        [
            *(field for field in found if field.name not in UNKNOWN_TO_A_REPORT),
            *(number_field(f"threshold_{disease}", "from which the disease is flagged") for disease in DISEASES),
            typed_field("model_name", pa.string(), "of the model that answered"),
            typed_field(
                "model_trained", pa.bool_(), "whether its weights learned from data; if not, numbers mean nothing"
            ),
            typed_field("model_weights", pa.string(), "what its weights are, in words"),
            *_delivery_fields(),
        ],
        metadata=_DESCRIBED,
    )


def _refused_schema() -> pa.Schema:
    return pa.schema(
        [
            *refused_fields(),
            typed_field("rejection_id", pa.string(), "the id of the rejection"),
            typed_field("device_id", pa.string(), "the device, where that is known"),
            typed_field("site", pa.string(), "where the ECG was recorded, where that is known"),
            typed_field("source", pa.string(), "topic/partition/offset of the ECG"),
            *_delivery_fields(),
        ],
        metadata=_DESCRIBED,
    )


_DESCRIBED = {"cardiacnets.schema": SCHEMA_VERSION, "cardiacnets.notice": NOTICE}
SCREENED, REFUSED = _screened_schema(), _refused_schema()


def screened_row(report: RiskReport) -> dict[str, Any]:
    """Return what a report says, by column. What the model does not answer is absent."""
    model = report.model
    return {
        **values_of(report, report.risks, report.quality),
        **{f"threshold_{risk.disease}": risk.threshold for risk in report.risks},
        **{f"subtype_{name}": value for name, value in (report.cardiomyopathy_subtype or {}).items()},
        **{one.name: one.value for one in report.phenotypes if one.name in _UNITS},
        "report_id": report.report_id,
        "model_version": model.version,
        "model_name": model.name,
        "model_trained": model.trained,
        "model_weights": model.weights,
        "created_at": report.created_at,
        **measurement_values(report.ecg_measurements),
    }


def refused_row(rejection: Rejection) -> dict[str, Any]:
    """Return what a rejection says, by column."""
    return {
        "record_id": rejection.record_id,
        "code": rejection.code,
        "detail": rejection.detail,
        "numbers": as_json(rejection.numbers),
        "rejection_id": rejection.rejection_id,
        "device_id": rejection.device_id,
        "site": rejection.site,
        "source": rejection.source,
        "created_at": rejection.created_at,
    }


def as_batch(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Return the rows as columns."""
    arrays = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)

"""The columns of the two tables: what a screened ECG has, and why an ECG was refused.

Columns are added at the end, and none changes its meaning, while `SCHEMA_VERSION` is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from inference.ecg_measurements import UNITS
from inference.manifest import Manifest
from inference.screener import Refused, Screening
from schemas.ecg_record import EcgRecord
from schemas.errors import CardiacNetsError
from schemas.identity import report_id
from schemas.messages import EMBEDDING_SIZE, NOTICE, EcgMeasurement, Quality, Risk, RiskReport, reasons_of

from .archive import ARCHIVES, PATH

SCHEMA_VERSION = "1"
ECG, NOT_MEASURABLE = "ecg_", "ecg_not_measurable"


@dataclass(frozen=True, slots=True)
class Row:
    """An ECG of the plan with its answer.

    Attributes:
        place: its row in the shard's part of the plan.
    """

    place: int
    record_id: str | None
    answer: Screening | Refused


class Columns:
    """The schemas of one backfill: of its model's outputs, and of its archive's list."""

    def __init__(self, manifest: Manifest, keys: pa.Schema) -> None:
        self._diseases = [head.name for head in manifest.diseases]
        self._subtypes = list(manifest.subtypes)
        self._measurements = [head.name for head in manifest.phenotypes]
        found = screened_fields(
            {
                head.name: f"whether the verdict is detected: the probability is at least {head.threshold:g}"
                for head in manifest.diseases
            },
            manifest.subtypes,
            {head.name: head.unit for head in manifest.phenotypes},
        )
        refused = refused_fields()
        ours = {field.name for field in (*found, *refused)}
        self._keys = pa.schema([_renamed(field, ours) for field in keys if field.name != PATH])
        described = {"cardiacnets.schema": SCHEMA_VERSION, "cardiacnets.notice": NOTICE}
        self.screened = pa.schema([_PATH, *self._keys, *found], metadata=described)
        self.refused = pa.schema([_PATH, *self._keys, *refused], metadata=described)

    def screened_table(self, plan: pa.Table, rows: Sequence[Row]) -> pa.Table:
        """Return the table of the rows that were screened."""
        kept = [row for row in rows if isinstance(row.answer, Screening)]
        answers = [row.answer for row in kept if isinstance(row.answer, Screening)]
        return self._table(self.screened, plan, kept, [self._found(answer) for answer in answers])

    def refused_table(self, plan: pa.Table, rows: Sequence[Row]) -> pa.Table:
        """Return the table of the rows that were refused."""
        kept = [row for row in rows if isinstance(row.answer, Refused)]
        errors = [(row.record_id, row.answer.error) for row in kept if isinstance(row.answer, Refused)]
        return self._table(self.refused, plan, kept, [_why(*pair) for pair in errors])

    def _table(
        self, schema: pa.Schema, plan: pa.Table, rows: Sequence[Row], values: Sequence[dict[str, Any]]
    ) -> pa.Table:
        listed = plan.take(pa.array([row.place for row in rows], pa.int64()))
        listed = listed.rename_columns([PATH, *self._keys.names])
        fields = list(schema)[1 + len(self._keys) :]
        arrays = [pa.array([value[field.name] for value in values], field.type) for field in fields]
        columns = [*listed.columns, *arrays]
        return pa.Table.from_arrays(columns, schema=schema)

    def _found(self, answer: Screening) -> dict[str, Any]:
        record, quality, finding = answer.record, answer.quality, answer.finding
        has_subtype = "cardiomyopathy" in finding.flagged_diseases
        return {
            **values_of(record, finding.risks, quality),
            **{f"subtype_{name}": value if has_subtype else None for name, value in finding.subtype.items()},
            **{phenotype.name: phenotype.value for phenotype in finding.phenotypes},
            "embedding": finding.embedding,
            "report_id": report_id(record.record_id, answer.model),
            "model_version": answer.model.version,
            **measurement_values(answer.measurements),
        }


_PATH = pa.field(PATH, pa.string(), nullable=False, metadata={"description": "of the file, below the archive's root"})


def screened_fields(
    flags: Mapping[str, str], subtypes: Sequence[str], measurements: Mapping[str, str]
) -> list[pa.Field]:
    """Return the columns of what a model says of an ECG.

    Args:
        flags: what the flag of each disease says.
        subtypes: of cardiomyopathy.
        measurements: their units, by name.
    """
    strings = pa.list_(pa.string())
    return [
        typed_field("record_id", pa.string(), "the ECG's id"),
        typed_field("patient_id", pa.string(), "the patient's pseudonym, as the file has it"),
        typed_field("device_id", pa.string(), "the device, as the file has it"),
        typed_field("site", pa.string(), "where the ECG was recorded, as the file has it"),
        typed_field("recorded_at", pa.timestamp("us", "UTC"), "when the ECG was recorded, as the file has it"),
        *(number_field(f"probability_{disease}", "of the disease, 0 to 1") for disease in flags),
        *(typed_field(f"flagged_{disease}", pa.bool_(), meaning) for disease, meaning in flags.items()),
        *(
            number_field(f"subtype_{name}", "probability of the kind, where cardiomyopathy is flagged")
            for name in subtypes
        ),
        *(number_field(name, "as cardiac MR would measure it", unit) for name, unit in measurements.items()),
        typed_field(
            "embedding", pa.list_(pa.float32(), EMBEDDING_SIZE), "place in the space of ECGs and CMRs, of length 1"
        ),
        typed_field("warnings", strings, "codes of doubts about the signal"),
        typed_field("warning_numbers", pa.string(), "their evidence, as JSON: by code, units in the names"),
        number_field("sample_rate_hz", "of the record", "Hz"),
        number_field("duration_s", "of the whole record", "s"),
        typed_field("derived_leads", strings, "leads that were computed from I and II"),
        typed_field("pacing", pa.string(), "whether pacing spikes were seen: seen, not_seen or not_assessable"),
        typed_field("report_id", pa.string(), "the id that a report of this record and model has"),
        typed_field("model_version", pa.string(), "of the model that answered"),
        *measurement_fields(),
        *(
            typed_field(f"verdict_{disease}", pa.string(), "detected, not_detected or not_assessable")
            for disease in flags
        ),
        typed_field("not_assessable_reasons", strings, "why the ECG is not assessable for a disease: codes"),
    ]


def values_of(ecg: EcgRecord | RiskReport, risks: Sequence[Risk], quality: Quality) -> dict[str, Any]:
    """Return what an ECG, its risks and its quality say, by column."""
    return {
        "record_id": ecg.record_id,
        "patient_id": ecg.patient_id,
        "device_id": ecg.device_id,
        "site": ecg.site,
        "recorded_at": ecg.recorded_at,
        **{f"probability_{risk.disease}": risk.probability for risk in risks},
        **{f"flagged_{risk.disease}": risk.flagged for risk in risks},
        **{f"verdict_{risk.disease}": risk.verdict for risk in risks},
        "not_assessable_reasons": list(reasons_of(risks)),
        "warnings": [warning.code for warning in quality.warnings],
        "warning_numbers": as_json({warning.code: warning.numbers for warning in quality.warnings}),
        "sample_rate_hz": quality.sample_rate_hz,
        "duration_s": quality.duration_s,
        "derived_leads": list(quality.derived_leads),
        "pacing": quality.pacing,
    }


def measurement_fields() -> list[pa.Field]:
    """Return the columns of what is measured in the ECG itself."""
    return [
        *(
            number_field(f"{ECG}{name}", "of the ECG itself, or null where it cannot be measured", unit)
            for name, unit in UNITS.items()
        ),
        typed_field(NOT_MEASURABLE, pa.string(), "why the ecg_… columns are null, as JSON: by name, a code"),
    ]


def measurement_values(measurements: Sequence[EcgMeasurement]) -> dict[str, Any]:
    """Return what was measured, by column. What this version does not know is left out."""
    known = [one for one in measurements if one.name in UNITS]
    values: dict[str, Any] = {f"{ECG}{name}": None for name in UNITS}
    values |= {f"{ECG}{one.name}": one.value for one in known}
    return values | {NOT_MEASURABLE: as_json({one.name: one.not_measurable for one in known if one.not_measurable})}


def refused_fields() -> list[pa.Field]:
    """Return the columns of why an ECG was refused."""
    return [
        typed_field("record_id", pa.string(), "the ECG's id, where the file could be read"),
        typed_field("code", pa.string(), "why, for a program"),
        typed_field("detail", pa.string(), "why, in a sentence"),
        typed_field("numbers", pa.string(), "the evidence, as JSON: units in the names"),
    ]


def _why(record_id: str | None, error: CardiacNetsError) -> dict[str, Any]:
    return {
        "record_id": record_id,
        "code": error.wire_code,
        "detail": str(error),
        "numbers": as_json(error.numbers),
    }


def number_field(name: str, description: str, unit: str | None = None) -> pa.Field:
    """Return the column of a number."""
    return typed_field(name, pa.float64(), description, unit)


def typed_field(name: str, kind: pa.DataType, description: str, unit: str | None = None) -> pa.Field:
    """Return a column that says in the schema's metadata what it holds."""
    return pa.field(name, kind, metadata={"description": description} | ({"unit": unit} if unit else {}))


def _renamed(field: pa.Field, ours: set[str]) -> pa.Field:
    return field.with_name(f"{ARCHIVES}{field.name}") if field.name in ours else field


def as_json(value: object) -> str:
    """Return a value as the text of a column."""
    return msgspec.json.encode(value).decode()

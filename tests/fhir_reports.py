"""Reports and alerts for the tests of FHIR, made from a seed."""

from datetime import UTC, datetime

import msgspec
import numpy as np

from inference.ecg_measurements import UNITS
from inference.phenotypes import MEASUREMENTS
from schemas.messages import (
    DISEASES,
    SUBTYPES,
    Alert,
    EcgMeasurement,
    ModelReference,
    Phenotype,
    Quality,
    QualityWarning,
    Risk,
    RiskReport,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
MODEL = ModelReference(name="cardiacnets-reference", version="0.3.0+abc", trained=True, weights="demonstration")
EVERY_MEASUREMENT = tuple(
    EcgMeasurement(name=name, value=50.0, unit=unit, not_measurable=None) for name, unit in UNITS.items()
)


def report(seed=0, **changes):
    """Return a report whose numbers follow from the seed."""
    draw = np.random.default_rng(seed)
    whole = RiskReport(
        report_id=f"report-{seed}",
        record_id=f"ecg-{seed}",
        patient_id="p-1",
        model=MODEL,
        risks=tuple(
            Risk(disease=disease, probability=float(p), threshold=0.5, flagged=bool(p >= 0.5))
            for disease, p in zip(DISEASES, draw.random(5).round(6), strict=True)
        ),
        phenotypes=tuple(
            Phenotype(name=known.name, value=float(draw.normal(50, 20)), unit=known.unit) for known in MEASUREMENTS
        ),
        cardiomyopathy_subtype=dict(zip(SUBTYPES, (0.2, 0.3, 0.5), strict=True)),
        quality=Quality(
            warnings=(QualityWarning(code="noisy", detail="Lead V1 is noisy."),),
            sample_rate_hz=500.0,
            duration_s=10.0,
            derived_leads=(),
        ),
        created_at=NOW,
        recorded_at=NOW,
    )
    return msgspec.structs.replace(whole, **changes)


def alert(**changes):
    """Return an alert about heart failure."""
    whole = Alert(
        identifier="alert-1",
        status="raised",
        priority="high",
        derived_from="report-0",
        record_id="ecg-0",
        subject="p-1",
        code="heart_failure",
        risks=(Risk(disease="heart_failure", probability=0.75, threshold=0.5, flagged=True, verdict="detected"),),
        model=MODEL,
        onset=NOW,
        recorded_at=NOW,
    )
    return msgspec.structs.replace(whole, **changes)

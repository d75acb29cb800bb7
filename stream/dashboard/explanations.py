"""What the numbers of a report mean: risks in words, measurements beside the ranges of healthy hearts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import msgspec

from inference.ecg_measurements import HEART_RATE, NOT_MEASURABLE, P_AXIS, PR, QRS, QRS_AXIS, QT, QTC, T_AXIS
from inference.phenotypes import AHA_SEGMENTS, AORTA, ATRIA, LONG_AXIS_SEGMENTS, MEASUREMENTS, VENTRICLES
from inference.reference_values import REFERENCE_VALUES, ReferenceValue
from inference.site_policy import excluded_by, not_assessable
from schemas.messages import EcgMeasurement, ModelReference, Phenotype, Risk, RiskReport

from .doubts import Doubt, doubts_of

UNTRAINED = "The weights are untrained: this number means nothing yet."
DEMONSTRATION = "demonstration weights"
"""How `weights` begins of a model that learned from simulated patients."""
MIDDLE_SEGMENTS = AHA_SEGMENTS[6:12]
LABELS = {
    "LVEDV": "LV end-diastolic volume",
    "LVESV": "LV end-systolic volume",
    "LVSV": "LV stroke volume",
    "LVEF": "LV ejection fraction",
    "LVCO": "LV cardiac output",
    "LVM": "LV mass",
    "RVEDV": "RV end-diastolic volume",
    "RVESV": "RV end-systolic volume",
    "RVSV": "RV stroke volume",
    "RVEF": "RV ejection fraction",
    "LA_max_volume": "LA volume, largest",
    "LA_min_volume": "LA volume, smallest",
    "LASV": "LA stroke volume",
    "LAEF": "LA ejection fraction",
    "RA_max_volume": "RA volume, largest",
    "RA_min_volume": "RA volume, smallest",
    "RASV": "RA stroke volume",
    "RAEF": "RA ejection fraction",
    "ascending_aorta_max_area": "Ascending, largest area",
    "ascending_aorta_min_area": "Ascending, smallest area",
    "ascending_aorta_distensibility": "Ascending, distensibility",
    "descending_aorta_max_area": "Descending, largest area",
    "descending_aorta_min_area": "Descending, smallest area",
    "descending_aorta_distensibility": "Descending, distensibility",
    "LV_wall_thickness_global": "Thickness, mean of all segments",
    "LV_wall_thickness_middle": "Thickness, mean of the mid-cavity",
    "LV_circumferential_strain_global": "Circumferential, global",
    "LV_radial_strain_global": "Radial, global",
    "LV_longitudinal_strain_global": "Longitudinal, global",
    **{f"LV_longitudinal_strain_segment_{n}": f"Longitudinal, segment {n}" for n in LONG_AXIS_SEGMENTS},
}

BULLSEYES = (
    ("Wall thickness", "LV_wall_thickness", 3.0, 15.0),
    ("Circumferential strain", "LV_circumferential_strain", -30.0, 0.0),
    ("Radial strain", "LV_radial_strain", 0.0, 70.0),
)
"""Title, quantity, and the ends of the colours. They are fixed, so that one colour means one value on every page. They
span healthy hearts and sick ones: a wall of 15 mm is thick, and a strain of 0 % is no contraction."""

ECG_LABELS = {
    HEART_RATE: "Rate",
    PR: "PR",
    QRS: "QRS",
    QT: "QT",
    QTC: "QTc (Fridericia)",
    P_AXIS: "P axis",
    QRS_AXIS: "QRS axis",
    T_AXIS: "T axis",
}


class Range(msgspec.Struct, frozen=True):
    """The range that covers 95 % of healthy women, or men."""

    low: float
    high: float
    source: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. A range is None if none is published for it, or if the report uses another unit."""

    name: str
    label: str
    value: float
    unit: str
    half_width: float | None
    informative: bool
    women: Range | None
    men: Range | None


class Group(msgspec.Struct, frozen=True):
    """Measurements that belong together."""

    title: str
    lines: tuple[Line, ...]


class Bullseye(msgspec.Struct, frozen=True):
    """One quantity in the 16 segments of the AHA's model of the left ventricle."""

    title: str
    unit: str
    values: tuple[float, ...]
    low: float
    """Where the colours begin: below the values of nearly all healthy hearts."""
    high: float


class EcgLine(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of the ECG itself: a value, or why there is none."""

    name: str
    label: str
    value: float | None
    unit: str
    why: str | None


class RiskMeaning(msgspec.Struct, frozen=True, kw_only=True):
    """A risk, and a sentence that explains it."""

    disease: str
    probability: float
    threshold: float
    flagged: bool
    assessable: bool
    sentence: str


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What the page of a record adds to the report."""

    not_assessable: str | None
    """Why the model is not for this ECG; None if it is."""
    doubts: tuple[Doubt, ...]
    risks: tuple[RiskMeaning, ...]
    groups: tuple[Group, ...]
    bullseyes: tuple[Bullseye, ...]
    ecg: tuple[EcgLine, ...]


def explain(report: RiskReport) -> Meaning:
    """Return what the numbers of a report mean."""
    phenotypes = {phenotype.name: phenotype for phenotype in report.phenotypes}
    excluded = excluded_by(report.risks)
    return Meaning(
        not_assessable=not_assessable(excluded) if excluded else None,
        doubts=doubts_of(report),
        risks=tuple(_risk_meaning(risk, report.model) for risk in report.risks),
        groups=() if excluded else tuple(_groups(phenotypes, trained=report.model.trained)),
        bullseyes=() if excluded else tuple(_bullseyes(phenotypes)),
        ecg=tuple(map(_ecg_line, report.ecg_measurements)),
    )


def put_in_words(risk: Risk, model: ModelReference) -> str:
    """Return a sentence that says what a calibrated probability means, or why it means nothing.

    Demonstration weights learned from simulated patients, so their numbers are said of simulated patients alone.
    """
    if not model.trained:
        return UNTRAINED
    if not risk.is_assessable:
        return not_assessable(risk.reasons)
    percent = 100 * risk.probability
    share = "fewer than 1" if percent < 1 else "more than 99" if percent > 99 else f"about {percent:.0f}"
    name = risk.disease.replace("_", " ")
    patients = "simulated patients" if _is_demonstration(model) else "patients"
    return f"Of 100 {patients} with this estimate, {share} {'has' if share == 'about 1' else 'have'} {name}."


def _is_demonstration(model: ModelReference) -> bool:
    """Return whether the weights are there to show that the way works, and say nothing of a person."""
    return model.weights.startswith(DEMONSTRATION)


def _risk_meaning(risk: Risk, model: ModelReference) -> RiskMeaning:
    return RiskMeaning(
        disease=risk.disease,
        probability=risk.probability,
        threshold=risk.threshold,
        flagged=risk.flagged,
        assessable=risk.is_assessable,
        sentence=put_in_words(risk, model),
    )


def _groups(phenotypes: Mapping[str, Phenotype], *, trained: bool) -> Iterable[Group]:
    phenotypes = {**phenotypes, **_derived(phenotypes)}
    for title, names in _titles().items():
        lines = tuple(_line(phenotypes[name], trained=trained) for name in names if name in phenotypes)
        if lines:
            yield Group(title, lines)


def _titles() -> dict[str, tuple[str, ...]]:
    return {
        "Ventricles": tuple(name for name, _ in VENTRICLES),
        "Atria": tuple(name for name, _ in ATRIA),
        "Aorta": tuple(name for name, _ in AORTA),
        "Wall": ("LV_wall_thickness_global", "LV_wall_thickness_middle"),
        "Strain": (
            *(f"LV_{direction}_strain_global" for direction in ("circumferential", "radial", "longitudinal")),
            *(f"LV_longitudinal_strain_segment_{segment}" for segment in LONG_AXIS_SEGMENTS),
        ),
    }


def _derived(phenotypes: Mapping[str, Phenotype]) -> dict[str, Phenotype]:
    """Return the one measurement that is computed from others and has a published range."""
    middle = [phenotypes.get(f"LV_wall_thickness_AHA_{segment}") for segment in MIDDLE_SEGMENTS]
    known = [phenotype for phenotype in middle if phenotype is not None]
    if len(known) < len(middle):
        return {}
    mean = sum(phenotype.value for phenotype in known) / len(known)
    return {"LV_wall_thickness_middle": Phenotype(name="LV_wall_thickness_middle", value=mean, unit=known[0].unit)}


def _line(phenotype: Phenotype, *, trained: bool) -> Line:
    """Return a line. Numbers of untrained weights get no ranges, since such numbers have no meaning."""
    comparable = trained and phenotype.unit == _units().get(phenotype.name)
    women, men = (_ranges().get((phenotype.name, female)) if comparable else None for female in (True, False))
    return Line(
        name=phenotype.name,
        label=LABELS.get(phenotype.name, phenotype.name),
        value=phenotype.value,
        unit=phenotype.unit,
        half_width=phenotype.half_width,
        informative=phenotype.informative,
        women=women,
        men=men,
    )


def _ecg_line(measurement: EcgMeasurement) -> EcgLine:
    why = measurement.not_measurable
    return EcgLine(
        name=measurement.name,
        label=ECG_LABELS.get(measurement.name, measurement.name.replace("_", " ")),
        value=measurement.value,
        unit=measurement.unit,
        why=None if why is None else NOT_MEASURABLE.get(why, why.replace("_", " ")),
    )


def _bullseyes(phenotypes: Mapping[str, Phenotype]) -> Iterable[Bullseye]:
    for title, quantity, low, high in BULLSEYES:
        names = [f"{quantity}_AHA_{segment}" for segment in AHA_SEGMENTS]
        if all(name in phenotypes for name in names):
            values = tuple(phenotypes[name].value for name in names)
            yield Bullseye(title, phenotypes[names[0]].unit, values, low, high)


@cache
def _units() -> dict[str, str]:
    return {measurement.name: measurement.unit for measurement in MEASUREMENTS} | {"LV_wall_thickness_middle": "mm"}


@cache
def _ranges() -> dict[tuple[str, bool], Range]:
    return {(value.measurement, value.female): _range(value) for value in REFERENCE_VALUES}


def _range(value: ReferenceValue) -> Range:
    return Range(value.low, value.high, value.source)

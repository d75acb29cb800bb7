"""Compares simulated patients with real ones: ECGs with real records, hearts with published values.

The real records serve for this comparison alone. Nothing is trained on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from inference.geometry import MICROVOLTS_PER_STEP, RECORDED_RATE_HZ, RECORDED_SAMPLES
from inference.phenotypes import MEASUREMENTS
from inference.reading.read_ecg import read_ecg
from inference.reference_values import DERIVED, REFERENCE_VALUES, ReferenceValue
from schemas.ecg_record import LEADS, MISSING_SAMPLE
from schemas.errors import InvalidSettings
from training.arrays import Floats
from training.cohort.labelled_ecgs import LABELS, one_a_patient, read_labelled_ecgs
from training.instruments.ecg_measurements import CLASSIC_MEASUREMENTS, measure_ecgs

from .ecg import simulate_ecg
from .heart import build_heart
from .heart_measurements import measure_heart
from .patient import Patient
from .physiology import draw_patient

DATA_SETS = ("LUDB", "PTB-XL")
ADULT_YEARS = 18
AGREES = 0.5
"""Standardised difference up to which two groups agree."""
NARROW, WIDE = 0.6, 1.7
"""Ratio of the standard deviations outside of which the simulated values vary too little or too much."""
SMALL = {"bpm": 2, "ms": 4, "deg": 5, "mv": 0.01}
"""By unit, shifts and differences of standard deviations that nobody sees on paper. They count as agreement."""
CINE_CROP = 124
"""Pixels of a real cine, about 1.4 mm each, that are shown about the heart."""
FEWEST = 8
"""Values that a group needs for a comparison."""


class _Series(msgspec.Struct):
    view: str = ""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How a measurement is distributed in a group."""

    n: int
    median: float
    low: float
    high: float


class EcgComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of simulated ECGs beside that of real ones.

    Attributes:
        difference: of the means over the pooled standard deviation; positive where the simulated ones are larger.
        ks: two-sample Kolmogorov-Smirnov statistic, 0 to 1.
        real_medians: of each of `DATA_SETS` that has enough records.
        between_data_sets: the same difference, of LUDB against PTB-XL: how far two real sources lie apart.
        verdict: "agrees", or what is off.
    """

    measurement: str
    simulated: Spread
    real: Spread
    difference: float
    ks: float
    real_medians: dict[str, float]
    between_data_sets: float | None
    verdict: str


class HeartComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One CMR measurement of simulated healthy women or men beside the published mean and standard deviation.

    Attributes:
        difference: of the means, in published standard deviations.
    """

    measurement: str
    unit: str
    sex: str
    n: int
    mean: float
    sd: float
    published_mean: float
    published_sd: float
    difference: float
    verdict: str
    source: str


class Realism(msgspec.Struct, frozen=True, kw_only=True):
    """How closely simulated patients resemble real ones.

    Attributes:
        healthy_ages, normal_ages: in years, of the healthy simulated patients and of the real normal records' patients.
        healthy: healthy simulated patients against normal real ECGs.
        everybody: all simulated patients against all real ECGs.
        hearts: of healthy simulated patients against published values.
    """

    healthy_ages: Spread
    normal_ages: Spread
    healthy: list[EcgComparison]
    everybody: list[EcgComparison]
    hearts: list[HeartComparison]


@dataclass(frozen=True, slots=True)
class RealEcgs:
    """Real records of adults, one a patient.

    Attributes:
        signals_mv: (n, 12, 5000).
        measured: (n, k) `CLASSIC_MEASUREMENTS`.
        normal: (n,) whether the record is labelled as a normal ECG.
        data_sets: (n,) one of `DATA_SETS` each.
    """

    signals_mv: NDArray[np.float32]
    measured: Floats
    normal: NDArray[np.bool_]
    data_sets: NDArray[np.str_]
    age_years: Floats


@dataclass(frozen=True, slots=True)
class SimulatedPatients:
    """Simulated patients with both sides measured.

    Attributes:
        signals_mv: (n, 12, 5000).
        measured: (n, k) `CLASSIC_MEASUREMENTS`.
        hearts: (n, 82) in the order and units of `MEASUREMENTS`.
        healthy: (n,) without the five diseases, fibrillation, conduction block or much hypertension.
    """

    patients: tuple[Patient, ...]
    signals_mv: NDArray[np.float32]
    measured: Floats
    hearts: Floats
    healthy: NDArray[np.bool_]


def read_real_ecgs(folder: Path) -> RealEcgs:
    """Return the adults of LUDB and PTB-XL that `labels.csv` in the folder lists, one ECG a patient.

    Raises:
        InvalidSettings: the table cannot be read or lists no such adult, or an ECG lacks a lead or has another length
            or rate.
    """
    listed = read_labelled_ecgs(folder, "age")
    adults = [ecg for ecg in listed if ecg.dataset in DATA_SETS and ecg.age_years >= ADULT_YEARS]
    ecgs = list(one_a_patient(adults))
    if not ecgs:
        raise InvalidSettings(f"{folder / LABELS} lists no adult of {' or '.join(DATA_SETS)}")
    signals = np.stack([_signals_mv(ecg.path) for ecg in ecgs])
    return RealEcgs(
        signals_mv=signals,
        measured=measure_ecgs(signals, RECORDED_RATE_HZ),
        normal=np.array(["NORM" in ecg.diagnoses for ecg in ecgs]),
        data_sets=np.array([ecg.dataset for ecg in ecgs]),
        age_years=np.array([ecg.age_years for ecg in ecgs]),
    )


def _signals_mv(path: Path) -> NDArray[np.float32]:
    """Return (12, 5000), leads in the order of `LEADS`."""
    ecg = read_ecg(path)
    if missing := [lead for lead in LEADS if lead not in ecg.leads]:
        raise InvalidSettings(f"{path} lacks the leads {', '.join(missing)}")
    steps = np.frombuffer(ecg.samples, "<i2").reshape(len(ecg.leads), -1)[[ecg.leads.index(lead) for lead in LEADS]]
    if ecg.sample_rate_hz != RECORDED_RATE_HZ or steps.shape[1] < RECORDED_SAMPLES:
        raise InvalidSettings(f"{path} does not hold 10 s at 500 Hz")
    signals = np.where(steps == MISSING_SAMPLE, np.nan, steps * (ecg.microvolts_per_step / 1e3))
    return signals[:, :RECORDED_SAMPLES].astype(np.float32)


def read_real_cine(path: Path) -> NDArray[np.uint16]:
    """Return a real four-chamber cine (phases, height, width), cut to where it moves.

    Args:
        path: `….npz` of series, beside `…_meta.json` that names the view of each.

    Raises:
        InvalidSettings: there is no such pair, or no four-chamber series in it.
    """
    described = path.with_name(f"{path.stem}_meta.json")
    if not path.is_file() or not described.is_file():
        raise InvalidSettings(f"a real cine needs {path}, and {described.name} beside it")
    views = msgspec.json.decode(described.read_bytes(), type=dict[str, _Series])
    series = next((name for name, each in views.items() if each.view == "4CH"), None)
    if series is None:
        raise InvalidSettings(f"{described} names no series of view 4CH")
    with np.load(path, allow_pickle=False) as arrays:
        cine: NDArray[np.uint16] = arrays[series]
    moving = cine.std(axis=0) > np.percentile(cine.std(axis=0), 98)
    row, column = (int(np.median(where)) for where in np.nonzero(moving))
    top, left = max(row - CINE_CROP // 2, 0), max(column - CINE_CROP // 2, 0)
    return cine[:, top : top + CINE_CROP, left : left + CINE_CROP]


def simulate_patients(count: int, seed: int, tick: Callable[[], object]) -> SimulatedPatients:
    """Return the first patients of a seed, with ECG and heart; `tick` is called after each."""
    patients, ecgs, hearts = [], [], []
    for number in range(count):
        patient = draw_patient(seed, number)
        patients.append(patient)
        ecgs.append(simulate_ecg(patient))
        hearts.append(measure_heart(build_heart(patient)))
        tick()
    signals = np.stack(ecgs) * np.float32(MICROVOLTS_PER_STEP / 1e3)
    return SimulatedPatients(
        patients=tuple(patients),
        signals_mv=signals,
        measured=measure_ecgs(signals, RECORDED_RATE_HZ),
        hearts=np.stack(hearts),
        healthy=np.array([is_healthy(patient) for patient in patients]),
    )


def is_healthy(patient: Patient) -> bool:
    """Return whether a physician might call the ECG normal, and a reference cohort would include the patient."""
    electrics = patient.electrics
    conducted = electrics.left_bundle_block + electrics.right_bundle_block + electrics.left_anterior_hemiblock == 0
    regular = conducted and not patient.rhythm.atrial_fibrillation and patient.rhythm.ventricular_ectopy == 0
    return regular and not any(patient.diseases.values()) and patient.conditions.hypertension < 0.2


def measure_realism(simulated: SimulatedPatients, real: RealEcgs) -> Realism:
    """Return the whole comparison.

    Raises:
        InvalidSettings: fewer than `FEWEST` simulated patients are healthy, or fewer real records are normal.
    """
    healthy, normal = simulated.healthy, real.normal
    if min(healthy.sum(), normal.sum()) < FEWEST:
        raise InvalidSettings(
            f"{healthy.sum()} healthy simulated patients and {normal.sum()} normal real ECGs are too few to compare: "
            "simulate more patients"
        )
    ages = np.array([patient.person.age_years for patient in simulated.patients])
    return Realism(
        healthy_ages=_spread(ages[healthy]),
        normal_ages=_spread(real.age_years[normal]),
        healthy=compare_ecgs(simulated.measured[healthy], real.measured[normal], real.data_sets[normal]),
        everybody=compare_ecgs(simulated.measured, real.measured, real.data_sets),
        hearts=compare_hearts(simulated),
    )


def compare_ecgs(simulated: Floats, real: Floats, data_sets: NDArray[np.str_]) -> list[EcgComparison]:
    """Return a comparison for each of `CLASSIC_MEASUREMENTS` that enough records of both groups have.

    Args:
        simulated: (n, k) classic measurements.
        real: (m, k) classic measurements.
        data_sets: (m,) one of `DATA_SETS` each.
    """
    columns = zip(CLASSIC_MEASUREMENTS, simulated.T, real.T, strict=True)
    compared = (_compare(name, ours, theirs, data_sets) for name, ours, theirs in columns)
    return [comparison for comparison in compared if comparison is not None]


def _compare(name: str, simulated: Floats, real: Floats, data_sets: NDArray[np.str_]) -> EcgComparison | None:
    if name.endswith("_deg"):
        simulated, real = _about(simulated, real)
    parts = {data_set: real[(data_sets == data_set) & np.isfinite(real)] for data_set in DATA_SETS}
    large = {data_set: part for data_set, part in parts.items() if len(part) >= FEWEST}
    simulated, real = simulated[np.isfinite(simulated)], real[np.isfinite(real)]
    if min(len(simulated), len(real)) < FEWEST:
        return None
    return EcgComparison(
        measurement=name,
        simulated=_spread(simulated),
        real=_spread(real),
        difference=_difference(simulated, real),
        ks=float(ks_2samp(simulated, real).statistic),
        real_medians={data_set: float(np.median(part)) for data_set, part in large.items()},
        between_data_sets=_difference(*large.values()) if len(large) == len(DATA_SETS) else None,
        verdict=_judge(
            _difference(simulated, real),
            float(simulated.mean() - real.mean()),
            (float(simulated.std(ddof=1)), float(real.std(ddof=1))),
            SMALL[name.rpartition("_")[2]],
        ),
    )


def _about(simulated: Floats, real: Floats) -> tuple[Floats, Floats]:
    """Return angles within half a turn of the real ones' mean direction, so that their means mean something."""
    known = np.radians(real[np.isfinite(real)])
    middle = float(np.degrees(np.arctan2(np.sin(known).sum(), np.cos(known).sum())))
    return _near(simulated, middle), _near(real, middle)


def _near(degrees: Floats, middle: float) -> Floats:
    return np.asarray((degrees - middle + 180) % 360 - 180 + middle)


def _spread(values: Floats) -> Spread:
    low, median, high = np.percentile(values, (5, 50, 95))
    return Spread(n=len(values), median=float(median), low=float(low), high=float(high))


def _difference(ours: Floats, theirs: Floats) -> float:
    pooled = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / 2)
    return float((ours.mean() - theirs.mean()) / max(pooled, 1e-9))


def _judge(difference: float, shift: float, deviations: tuple[float, float], small: float) -> str:
    """Return the verdict on a standardised difference, the shift in units, and ours and their standard deviation."""
    ours, theirs = deviations
    if abs(difference) >= AGREES and abs(shift) >= small:
        return f"off by {shift:+.2g}"
    if NARROW * theirs <= ours <= WIDE * theirs or abs(ours - theirs) < small:
        return "agrees"
    return f"varies too {'little' if ours < theirs else 'much'} (×{ours / max(theirs, 1e-9):.2g})"


def compare_hearts(simulated: SimulatedPatients) -> list[HeartComparison]:
    """Return a comparison of the healthy simulated women and men with each of `REFERENCE_VALUES`."""
    female = np.array([patient.person.female for patient in simulated.patients])
    units = {measurement.name: measurement.unit for measurement in MEASUREMENTS} | DERIVED
    comparisons = []
    for reference in REFERENCE_VALUES:
        values = heart_values(simulated, reference.measurement)[simulated.healthy & (female == reference.female)]
        if len(values) >= FEWEST:
            comparisons.append(_compare_heart(values, reference, units[reference.measurement]))
    return comparisons


def heart_values(simulated: SimulatedPatients, measurement: str) -> Floats:
    """Return (n,) values of one of the 82 measurements or of `DERIVED`."""
    columns = {each.name: column for each, column in zip(MEASUREMENTS, simulated.hearts.T, strict=True)}
    if measurement == "LVM_index":
        return np.asarray(columns["LVM"] / [patient.person.bsa_m2 for patient in simulated.patients])
    if measurement == "LV_wall_thickness_middle":
        return np.asarray(np.mean([columns[f"LV_wall_thickness_AHA_{segment}"] for segment in range(7, 13)], axis=0))
    return np.asarray(columns[measurement])


def _compare_heart(values: Floats, reference: ReferenceValue, unit: str) -> HeartComparison:
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    shift = mean - reference.mean
    return HeartComparison(
        measurement=reference.measurement,
        unit=unit,
        sex="women" if reference.female else "men",
        n=len(values),
        mean=mean,
        sd=sd,
        published_mean=reference.mean,
        published_sd=reference.sd,
        difference=shift / reference.sd,
        verdict=_judge(shift / reference.sd, shift, (sd, reference.sd), small=0),
        source=reference.source,
    )

"""Simulates a cohort: patients one after another, on several cores, straight to disk.

A patient depends on the seed and its own number alone, so the cohort has the same bytes on any number of cores, and its
first patients are those of a smaller one.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from inference.geometry import COHORT_PIXEL_MM, MICROVOLTS_PER_STEP, RECORDED_RATE_HZ
from schemas.ecg_record import LEADS
from schemas.messages import DISEASES
from training.arrays import Floats
from training.cohort.layout import CINES, ECGS, PHENOTYPES, SHARES, SHORT_AXIS, Cohort, Row, assign_fold, open_cohort
from training.cohort.process_pool import in_order
from training.cohort.staged_folder import staged_folder
from training.cohort.writer import map_array, write_cohort

from .ecg import simulate_ecg
from .four_chamber import draw_four_chamber
from .heart import build_heart
from .heart_measurements import measure_heart
from .patient import Patient
from .physiology import draw_patient
from .short_axis import draw_short_axis

Job = TypeVar("Job")
Result = TypeVar("Result")

SOURCE = "simulated"
CHUNK_PATIENTS = 8
WFDB_LABELS = "labels.csv"


@dataclass(frozen=True, slots=True)
class SimulatedPatient:
    """A patient with ECG, measurements and cines.

    Attributes:
        ecg: (12, 5000) int16 in steps of `MICROVOLTS_PER_STEP`, 500 Hz, in the order of `LEADS`.
        phenotypes: (82,) in the order and units of `MEASUREMENTS`, or None where the heart was not measured.
        cine, short_axis: (50, 96, 96) uint8, or None where none was asked for.
    """

    record_id: str
    patient: Patient
    ecg: NDArray[np.int16]
    phenotypes: Floats | None
    cine: NDArray[np.uint8] | None
    short_axis: NDArray[np.uint8] | None


def simulate_patient(
    seed: int, number: int, *, measured: bool = True, cine: bool = True, short_axis: bool = False
) -> SimulatedPatient:
    """Return one patient of the population of a seed with the ECG, and with measurements and cines where asked for."""
    patient = draw_patient(seed, number)
    heart = build_heart(patient) if measured or cine or short_axis else None
    return SimulatedPatient(
        record_id=f"simulated-{seed}-{number}",
        patient=patient,
        ecg=simulate_ecg(patient),
        phenotypes=measure_heart(heart) if heart and measured else None,
        cine=draw_four_chamber(heart) if heart and cine else None,
        short_axis=draw_short_axis(heart) if heart and short_axis else None,
    )


def simulate_cohort(
    folder: Path,
    patients: int,
    seed: int,
    *,
    unmeasured: int = 0,
    unscanned: int = 0,
    processes: int | None = None,
    cines: bool = True,
    short_axis: bool = False,
    progress: Callable[[int], object] = lambda _: None,
    folds: tuple[float, float] = SHARES,
) -> Cohort:
    """Write a simulated cohort, open it and return it. Every patient has one ECG.

    Args:
        folder: for the cohort; a cohort that is there is replaced.
        patients: number of patients with a scan and its measurements, at least 1.
        seed: of the population.
        unmeasured: number of further patients with a scan that nobody has measured.
        unscanned: number of further patients with diagnoses alone, as in a hospital's archive of ECGs.
        processes: that simulate; one a core by default. A program that asks for several must guard its own entry by
            `if __name__ == "__main__"`.
        cines: whether to draw the four-chamber view.
        short_axis: whether to draw the short axis.
        progress: called with the number of patients done.
        folds: shares of the patients for training and for development; (0, 0) puts all into the test fold.

    Raises:
        InvalidSettings: the folder holds something else than a cohort, is being written by another process, or the
            disk has too little room.
    """
    scans = patients + unmeasured if cines or short_axis else 0
    everybody = patients + unmeasured + unscanned
    with write_cohort(
        folder, source=SOURCE, rows=everybody, scans=scans, cines=cines, short_axis=short_axis, seed=seed
    ) as writer:
        work = partial(_simulate_rows, writer.folder, seed, folds=folds, measured=patients, scans=scans)
        for rows in in_order(work, _chunks(everybody), processes):
            for row in rows:
                writer.add(row)
            progress(writer.rows)
    return open_cohort(folder)


def write_wfdb(
    folder: Path,
    patients: int,
    seed: int,
    *,
    processes: int | None = None,
    scans: bool = False,
    progress: Callable[[int], object] = lambda _: None,
) -> None:
    """Write simulated ECGs as WFDB records, age and sex in their comments, with the truth beside them in `labels.csv`.

    Args:
        folder: for the files.
        patients: how many.
        seed: of the population.
        processes: as of `simulate_cohort`.
        scans: whether the four-chamber cines are written too, each beside its ECG as `….npz`.
        progress: called with the number of patients done.

    Raises:
        InvalidSettings: the folder is not empty, or is being written by another process.
    """
    with staged_folder(folder, replaces=lambda _: False) as stage:
        done = 0
        with (stage / WFDB_LABELS).open("w", newline="") as file:
            work = partial(_write_records, stage, seed, scans=scans)
            for labels in in_order(work, _chunks(patients), processes):
                writer = csv.DictWriter(file, labels[0])
                if not done:
                    writer.writeheader()
                writer.writerows(labels)
                done += len(labels)
                progress(done)


def _chunks(patients: int) -> list[range]:
    return [range(start, min(start + CHUNK_PATIENTS, patients)) for start in range(0, patients, CHUNK_PATIENTS)]


def _simulate_rows(
    folder: Path, seed: int, numbers: range, *, folds: tuple[float, float], measured: int, scans: int
) -> list[Row]:
    """Simulate patients, put their ECGs and cines in place, and return what the index says of them."""
    ecgs, cines, short_axis = (map_array(folder / name) for name in (ECGS, CINES, SHORT_AXIS))
    rows = []
    for number in numbers:
        scanned = number < scans
        simulated = simulate_patient(
            seed,
            number,
            measured=number < measured,
            cine=scanned and cines is not None,
            short_axis=scanned and short_axis is not None,
        )
        for array, values in ((ecgs, simulated.ecg), (cines, simulated.cine), (short_axis, simulated.short_axis)):
            if array is not None and values is not None:
                array[number] = values
        rows.append(_row(simulated, folds, number if scanned else -1))
    return rows


def _row(simulated: SimulatedPatient, folds: tuple[float, float], cine: int) -> Row:
    patient, patient_id = simulated.patient, _patient_id(simulated)
    return Row(
        record_id=simulated.record_id,
        patient_id=patient_id,
        fold=assign_fold(patient_id, folds),
        age_years=patient.person.age_years,
        female=patient.person.female,
        atrial_fibrillation=patient.rhythm.atrial_fibrillation,
        noise=patient.electrics.noise,
        diseases=patient.diseases,
        subtype=patient.subtype,
        phenotypes=simulated.phenotypes,
        cine=cine,
    )


def _patient_id(simulated: SimulatedPatient) -> str:
    return simulated.record_id.replace("simulated", "simulated-patient", 1)


def _write_records(folder: Path, seed: int, numbers: range, *, scans: bool) -> list[dict[str, Any]]:
    """Write the records of patients, and return their lines of `labels.csv`."""
    lines = []
    for number in numbers:
        simulated = simulate_patient(seed, number, cine=scans)
        _write_record(folder, simulated)
        if simulated.cine is not None:
            np.savez(folder / simulated.record_id, frames=simulated.cine, pixel_mm=COHORT_PIXEL_MM)
        lines.append(_labels(simulated))
    return lines


def _write_record(folder: Path, simulated: SimulatedPatient) -> None:
    import wfdb

    person = simulated.patient.person
    wfdb.wrsamp(
        simulated.record_id,
        fs=RECORDED_RATE_HZ,
        units=["mV"] * len(LEADS),
        sig_name=list(LEADS),
        d_signal=simulated.ecg.T,
        fmt=["16"] * len(LEADS),
        adc_gain=[1e3 / MICROVOLTS_PER_STEP] * len(LEADS),
        baseline=[0] * len(LEADS),
        comments=[
            f"<subject_id>: {_patient_id(simulated)}",
            f"Age: {person.age_years:.0f}",
            f"Sex: {'Female' if person.female else 'Male'}",
            "Simulated: no real person's ECG",
        ],
        write_dir=str(folder),
    )


def _labels(simulated: SimulatedPatient) -> dict[str, Any]:
    patient, phenotypes = simulated.patient, simulated.phenotypes
    assert phenotypes is not None  # noqa: S101 - `_write_records` had it measured
    return {
        "record": simulated.record_id,
        "patient_id": _patient_id(simulated),
        "age_years": round(patient.person.age_years, 1),
        "sex": "female" if patient.person.female else "male",
        "atrial_fibrillation": int(patient.rhythm.atrial_fibrillation),
        **{disease: int(patient.diseases[disease]) for disease in DISEASES},
        "cardiomyopathy_subtype": patient.subtype or "",
        **{name: f"{value:.4g}" for name, value in zip(PHENOTYPES, phenotypes, strict=True)},
    }

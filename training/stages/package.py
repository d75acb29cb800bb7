"""`cardiacnets train bundle`: the fine-tuned network, its calibration and its scales as a bundle that serves."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from inference.bundle import Bundle
from inference.export import RELEASE, package_network
from inference.manifest import InputSpec, Manifest, PhenotypeHead
from inference.models.network import EcgNetwork
from inference.models.presets import find_preset
from inference.phenotypes import MEASUREMENTS
from training.cohort.layout import Cohort
from training.cohort.probe import probe_crops

from .calibrate import STAGE as CALIBRATE
from .calibrate import Calibrate, read_heads
from .finetune import SCALER, Finetune, Scaler
from .finetune import STAGE as FINETUNE
from .folder import StageFolder, load_weights, read_settings
from .settings import Settings

SIMULATED = "simulated"


class Label(Settings, frozen=True, kw_only=True):
    """What a bundle says of itself."""

    name: str
    weights: str
    trained_on: str
    notes: str
    licence: str = "Apache-2.0"


def package(out: Path, finetuned: Path, calibrated: Path, label: Label) -> Bundle:
    """Write the bundle into `out`, and return it."""
    settings: Finetune = read_settings(finetuned, FINETUNE, Finetune)
    calibration: Calibrate = read_settings(calibrated, CALIBRATE, Calibrate)
    network = EcgNetwork(find_preset(settings.preset))
    network.load_state_dict(load_weights(StageFolder(finetuned).weights))
    scaler = msgspec.json.decode((finetuned / SCALER).read_bytes(), type=Scaler)
    scales = zip(MEASUREMENTS, scaler.mean, scaler.deviation, strict=True)
    manifest = Manifest(
        name=label.name,
        version=RELEASE,
        trained=True,
        weights=label.weights,
        trained_on=label.trained_on,
        licence=label.licence,
        notes=label.notes,
        preset=settings.preset,
        input=InputSpec(n_crops=calibration.n_crops),
        diseases=read_heads(calibrated),
        phenotypes=tuple(PhenotypeHead(name=m.name, unit=m.unit, mean=mean, sd=sd) for m, mean, sd in scales),
        files={},
    )
    return package_network(out, network.eval(), manifest, probe_crops())


def describe(cohort: Cohort, finetuned: Path) -> Label:
    """Return what a bundle of a network trained on the cohort says of itself."""
    source, preset = cohort.description.source, read_settings(finetuned, FINETUNE, Finetune).preset
    if source == SIMULATED:
        return Label(
            name=f"cardiacnets-{preset}",
            weights="demonstration weights, simulated cohort",
            trained_on=describe_cohort(cohort),
            notes="Learned from simulated patients alone. It shows that the way works; it says nothing of a person.",
        )
    return Label(
        name=f"cardiacnets-{preset}",
        weights=f"trained on {source}",
        trained_on=describe_cohort(cohort),
        notes="Thresholds and calibration hold for the cohort's own prevalences.",
    )


def describe_cohort(cohort: Cohort) -> str:
    """Return what a manifest says of the patients that were learned from; `evaluation` reads the seed in it."""
    told = cohort.description
    folds = ", ".join(f"{count} {fold}" for fold, count in told.fold_patients.items())
    measured = int(np.isfinite(cohort.phenotypes).any(axis=1).sum())
    scans = f"; {told.scans} scans, {measured} ECGs with measurements" if told.scans else ""
    seed = f", seed {told.seed}" if told.source == SIMULATED else ""
    return f"{told.source} cohort of {told.patients} patients ({folds}{scans}){seed}"

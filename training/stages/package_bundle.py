"""`cardiacnets train bundle`: writes the fine-tuned network, its calibration and its scales as a bundle that serves."""

from __future__ import annotations

from itertools import starmap
from pathlib import Path

import msgspec

from inference.bundle import Bundle
from inference.export import package_network
from inference.manifest import MODEL_RELEASE, Certainty, Eligibility, InputSpec, Manifest, PhenotypeHead
from inference.models.network import EcgNetwork
from inference.models.presets import find_preset
from inference.phenotypes import MEASUREMENTS, Measurement
from training.cohort.layout import Cohort
from training.cohort.provenance import SIMULATED, describe_cohort
from training.networks.weights_files import load_weights
from training.simulation.probe import probe_crops

from .calibrate import STAGE as CALIBRATE
from .calibrate import Calibrate, read_certainty, read_heads
from .finetune import SCALER, Scaler, labelled_rows
from .finetune import STAGE as FINETUNE
from .settings import Finetune, SavedStruct
from .stage_folder import StageFolder, check_cohort, check_input, read_settings, was_given
from .unlearned_heads import find_unlearned, silence


class BundleLabel(SavedStruct, frozen=True, kw_only=True):
    """How a bundle describes itself."""

    name: str
    weights: str
    trained_on: str
    notes: str
    licence: str = "Apache-2.0"


def package(out: Path, finetuned: Path, calibrated: Path, cohort: Cohort, label: BundleLabel) -> Bundle:
    """Write the bundle into `out`, and return it. Heads that no label trained answer a constant; the manifest says so.

    Args:
        out: the folder; a bundle in it is replaced.
        finetuned: folder of `finetune`.
        calibrated: folder of `calibrate`, of the same network.
        cohort: on which the network was fine-tuned and calibrated.
        label: see `describe`.

    Raises:
        InvalidSettings: the folders do not belong together, or belong to another cohort.
    """
    settings: Finetune = read_settings(finetuned, FINETUNE, Finetune)
    calibration: Calibrate = read_settings(calibrated, CALIBRATE, Calibrate)
    for folder in (finetuned, calibrated):
        check_cohort(folder, cohort)
    check_input(calibrated, "weights", StageFolder(finetuned).weights, "finetuned")
    network = EcgNetwork(find_preset(settings.preset))
    network.load_state_dict(load_weights(StageFolder(finetuned).weights))
    unlearned = find_unlearned(cohort, labelled_rows(cohort, settings), aligned=was_given(finetuned, "embeddings"))
    silence(network, unlearned)
    names = ", ".join(unlearned.names())
    scaler = msgspec.json.decode((finetuned / SCALER).read_bytes(), type=Scaler)
    scales = zip(MEASUREMENTS, scaler.mean, scaler.deviation, read_certainty(calibrated), strict=True)
    manifest = Manifest(
        name=label.name,
        version=MODEL_RELEASE,
        trained=True,
        weights=f"{label.weights}; not learned, and answered by a constant: {names}" if names else label.weights,
        trained_on=label.trained_on,
        licence=label.licence,
        notes=label.notes,
        preset=settings.preset,
        input=InputSpec(n_crops=calibration.n_crops),
        diseases=tuple(map(unlearned.head, read_heads(calibrated))),
        phenotypes=tuple(starmap(_measurement_head, scales)),
        eligibility=Eligibility(),
        files={},
    )
    return package_network(out, network.eval(), manifest, probe_crops())


def _measurement_head(measurement: Measurement, mean: float, sd: float, certainty: Certainty | None) -> PhenotypeHead:
    known = msgspec.UNSET if certainty is None else certainty
    return PhenotypeHead(name=measurement.name, unit=measurement.unit, mean=mean, sd=sd, certainty=known)


def describe(cohort: Cohort, finetuned: Path) -> BundleLabel:
    """Return how a bundle describes itself whose network was trained on the cohort."""
    source, preset = cohort.description.source, read_settings(finetuned, FINETUNE, Finetune).preset
    if source == SIMULATED:
        return BundleLabel(
            name=f"cardiacnets-{preset}",
            weights="demonstration weights, simulated cohort",
            trained_on=describe_cohort(cohort),
            notes="Learned from simulated patients alone. It shows that the way works; it says nothing of a person.",
        )
    return BundleLabel(
        name=f"cardiacnets-{preset}",
        weights=f"trained on {source}",
        trained_on=describe_cohort(cohort),
        notes="Thresholds and calibration hold for the cohort's own prevalences.",
    )

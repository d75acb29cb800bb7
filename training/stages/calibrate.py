"""`cardiacnets train calibrate`: fits calibrations and thresholds on the development fold, at natural prevalence.

The default thresholds hold the family-wise rate: of the people with none of the diseases at most one in ten has an
alert, whichever the disease. What a ward sees is the alerts of all five together. Two others are kept beside: one finds
nine of ten patients (90 % sensitivity), and would flag half of the healthy; one flags one in twenty of those without
its disease (95 % specificity), which makes an alert for one healthy person in six.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import msgspec
import numpy as np
import torch  # noqa: TID253 - the network answers
from numpy.typing import NDArray
from scipy.special import expit, logit

from engines.whole_json import write_json
from inference.manifest import Calibration, Certainty, DiseaseHead, IsotonicCalibration, TemperatureCalibration
from inference.models.network import EcgNetwork
from inference.models.presets import find_preset
from inference.readout import PROBABILITY_DECIMALS
from inference.readout import calibrate as apply_calibration
from schemas.errors import InvalidSettings
from schemas.messages import DISEASES, Disease
from training.arrays import Floats
from training.cohort.layout import Cohort
from training.networks.weights_files import load_weights

from .certainty import fit_certainty
from .crops import iterate_screened
from .devices import choose_device
from .finetune import SCALER, Scaler, check_development
from .finetune import STAGE as FINETUNE
from .operating_points import family_wise_thresholds, operating_points
from .pooled_slopes import pool_slopes, slope_error
from .settings import Finetune, Hardware, SavedStruct
from .stage_folder import StageFolder, open_stage, read_settings

Case: TypeAlias = tuple[Floats, NDArray[np.bool_]]
"""Of one disease: logits (n,), and who is sick."""

STAGE = "calibrate"
CALIBRATION = "calibration.json"
CERTAINTY = "certainty.json"
MIN_POSITIVES = 10
"""Cases in the development fold. With fewer, the slope stays 1 and only the prevalence is corrected."""
MIN_POSITIVES_FOR_ISOTONIC = 100
PARTS = 5
MIN_SLOPE = 1e-3
"""A logit without information, or with the opposite, is nearly ignored: calibration never reverses an order."""
BIAS_REACH = 20.0
SURE = 0.999
"""Calibrated probabilities keep this far from 0 and 1: the development fold cannot tell more."""
ON_ANY = Hardware()

ThresholdName = Literal["family_wise", "sensitivity_90", "specificity_95"]


class Calibrate(SavedStruct, frozen=True, kw_only=True):
    """What decides the result.

    Attributes:
        threshold: at which the bundle flags.
        family_wise_rate: the share of people with none of the diseases who may have an alert.
        prevalence: by disease, where the bundle will serve; the development fold's where it is not given.
        n_crops: crops of a record whose logits are averaged.
    """

    seed: int = 0
    threshold: ThresholdName = "family_wise"
    family_wise_rate: float = 0.10
    prevalence: dict[Disease, float] = {}  # noqa: RUF012 - msgspec copies it
    n_crops: int = 3


def calibrate(
    cohort: Cohort, out: Path, finetuned: Path, settings: Calibrate, hardware: Hardware = ON_ANY
) -> StageFolder:
    """Fit calibration, thresholds and certainty of a fine-tuned network; write `calibration.json`, `certainty.json`."""
    device = choose_device(hardware)
    preset = read_settings(finetuned, FINETUNE, Finetune).preset
    weights = StageFolder(finetuned).weights
    check_development(cohort)
    folder = open_stage(out, STAGE, settings, cohort, folds=("development",), weights=weights)
    if folder.is_finished:
        return folder
    network = EcgNetwork(find_preset(preset))
    network.load_state_dict(load_weights(weights))
    rows = cohort.select("development")
    logits, z_scores = average_outputs(network, cohort, rows, settings.n_crops, device)
    heads = fit_heads(DISEASES, logits, cohort.diseases[rows], settings)
    write_json(folder.path / CALIBRATION, heads)
    scaler = msgspec.json.decode((finetuned / SCALER).read_bytes(), type=Scaler)
    estimates = np.array(scaler.mean) + np.array(scaler.deviation) * z_scores
    certainty = fit_certainty(estimates, cohort.phenotypes[rows].astype(np.float64), flag(heads, logits))
    write_json(folder.path / CERTAINTY, certainty)
    positives = (cohort.diseases[rows] == 1).sum(axis=0).tolist()
    folder.finish(rows=len(rows), positives=dict(zip(DISEASES, positives, strict=True)))
    return folder


def average_outputs(
    network: EcgNetwork, cohort: Cohort, rows: NDArray[np.intp], n_crops: int, device: torch.device
) -> tuple[Floats, Floats]:
    """Return disease logits (row, 5) and z-scores (row, 82), averaged over the crops of a record as in serving."""
    network.to(device).eval()
    names = ("disease_logits", "phenotypes")
    parts: list[list[torch.Tensor]] = []
    with torch.inference_mode():
        for crops in iterate_screened(cohort, rows, n_crops, device):
            outputs = network(crops)
            parts.append([outputs[name].double().unflatten(0, (-1, n_crops)).mean(dim=1) for name in names])
    logits, z_scores = (np.asarray(torch.cat(part).cpu().numpy()) for part in zip(*parts, strict=True))
    return logits, z_scores


def flag(heads: Sequence[DiseaseHead], logits: Floats) -> NDArray[np.bool_]:
    """Return whether at least one head flags, (n,), given logits (n, disease)."""
    probabilities = _reported([head.calibration for head in heads], logits)
    return np.asarray((probabilities >= np.array([head.threshold for head in heads])).any(axis=1))


def _reported(calibrations: Sequence[Calibration | None], logits: Floats) -> Floats:
    """Return the probabilities of logits (n, disease), rounded as reports have them."""
    columns = [apply_calibration(logits[:, place], one) for place, one in enumerate(calibrations)]
    return np.stack(columns, axis=1).astype(np.float64).round(PROBABILITY_DECIMALS)


def fit_heads(
    names: Sequence[Disease], logits: Floats, labels: NDArray[np.float32], settings: Calibrate
) -> list[DiseaseHead]:
    """Return calibrations and thresholds, given development logits and labels (n, disease) of 0, 1 and NaN."""
    known = np.isfinite(labels)
    cases = [(logits[known[:, place], place], labels[known[:, place], place] == 1) for place in range(len(names))]
    calibrations = share_slopes([choose_calibration(*case, settings.seed) for case in cases], cases)
    calibrations = [
        shift_prevalence(calibration, smoothed_share(sick), settings.prevalence[name])
        if name in settings.prevalence
        else calibration
        for name, (_, sick), calibration in zip(names, cases, calibrations, strict=True)
    ]
    return fix_thresholds(names, calibrations, logits, labels, settings)


def fix_thresholds(
    names: Sequence[Disease],
    calibrations: Sequence[Calibration],
    logits: Floats,
    labels: NDArray[np.float32],
    settings: Calibrate,
) -> list[DiseaseHead]:
    """Return the heads with their thresholds, given calibrations, and development logits and labels (n, disease)."""
    probabilities = _reported(calibrations, logits)
    together = family_wise_thresholds(probabilities, labels.astype(np.float64), settings.family_wise_rate)
    heads = []
    for place, (name, calibration, family_wise) in enumerate(zip(names, calibrations, together, strict=True)):
        known = np.isfinite(labels[:, place])
        alone = operating_points(probabilities[known, place], labels[known, place] == 1)
        points = msgspec.structs.replace(alone, family_wise=family_wise, family_wise_rate=settings.family_wise_rate)
        threshold = getattr(points, settings.threshold)
        heads.append(DiseaseHead(name=name, threshold=threshold, calibration=calibration, operating_points=points))
    return heads


def share_slopes(calibrations: Sequence[Calibration], cases: Sequence[Case]) -> list[Calibration]:
    """Return the calibrations with fitted slopes drawn towards each other; see `pooled_slopes`."""
    shared = list(calibrations)
    fitted = {
        place: one
        for place, (one, (_, sick)) in enumerate(zip(calibrations, cases, strict=True))
        if isinstance(one, TemperatureCalibration) and one.temperature < 1 / MIN_SLOPE and _tells_slope(sick)
    }
    slopes = np.array([1 / one.temperature for one in fitted.values()])
    errors = np.array([slope_error(cases[place][0], 1 / one.temperature, one.bias) for place, one in fitted.items()])
    for place, slope in zip(fitted, pool_slopes(slopes, errors).tolist(), strict=True):
        logits, sick = cases[place]
        shared[place] = TemperatureCalibration(temperature=1 / slope, bias=fit_bias(slope * logits, sick).bias)
    return shared


def choose_calibration(logits: Floats, sick: NDArray[np.bool_], seed: int) -> Calibration:
    """Return Platt's calibration, or an isotonic one where cases are many and cross-validation finds it better."""
    if not _tells_slope(sick):
        return fit_bias(logits, sick)
    fits: dict[str, Callable[[Floats, NDArray[np.bool_]], Calibration]]
    fits = {"temperature": fit_temperature, "isotonic": fit_isotonic}
    if sick.sum() < MIN_POSITIVES_FOR_ISOTONIC:
        return fit_temperature(logits, sick)
    losses = {name: _cross_validated_loss(fit, logits, sick, seed) for name, fit in fits.items()}
    return fits[min(losses, key=losses.__getitem__)](logits, sick)


def _tells_slope(sick: NDArray[np.bool_]) -> bool:
    return bool(min(sick.sum(), (~sick).sum()) >= MIN_POSITIVES)


def fit_temperature(logits: Floats, sick: NDArray[np.bool_]) -> TemperatureCalibration:
    """Return Platt's slope and bias by maximum likelihood. The slope stays positive even if nothing was learned."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e6).fit(logits[:, None], sick)
    slope, bias = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope < MIN_SLOPE:
        return TemperatureCalibration(temperature=1 / MIN_SLOPE, bias=float(logit(smoothed_share(sick))))
    return TemperatureCalibration(temperature=1 / slope, bias=bias)


def fit_bias(logits: Floats, sick: NDArray[np.bool_]) -> TemperatureCalibration:
    """Return the shift of the logits that makes the mean probability equal the prevalence."""
    from scipy.optimize import brentq

    wanted, reach = smoothed_share(sick), float(np.abs(logits).max(initial=0)) + BIAS_REACH
    bias = brentq(lambda shift: float(expit(logits + shift).mean()) - wanted, -reach, reach) if len(logits) else 0.0
    return TemperatureCalibration(temperature=1, bias=float(bias))


def smoothed_share(sick: NDArray[np.bool_]) -> float:
    """Return the share of the sick, kept away from 0 and 1 by half a case."""
    return float((sick.sum() + 0.5) / (len(sick) + 1))


def fit_isotonic(logits: Floats, sick: NDArray[np.bool_]) -> IsotonicCalibration:
    """Return the knots of the isotonic regression, kept away from 0 and 1."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=1 - SURE, y_max=SURE, out_of_bounds="clip").fit(logits, sick)
    return IsotonicCalibration(
        logits=tuple(fitted.X_thresholds_.tolist()), probabilities=tuple(fitted.y_thresholds_.tolist())
    )


def shift_prevalence(calibration: Calibration, before: float, after: float) -> Calibration:
    """Return the calibration for another prevalence: all odds change by one factor, so that the order stays.

    Raises:
        InvalidSettings: the prevalence is not between 0 and 1.
    """
    if not 0 < after < 1:
        raise InvalidSettings(f"a prevalence must be between 0 and 1, and {after} is not")
    shift = float(logit(after) - logit(before))
    if isinstance(calibration, TemperatureCalibration):
        return msgspec.structs.replace(calibration, bias=calibration.bias + shift)
    moved = expit(logit(np.array(calibration.probabilities)) + shift)
    return msgspec.structs.replace(calibration, probabilities=tuple(moved.tolist()))


def read_certainty(folder: Path) -> list[Certainty | None]:
    """Return how sure each measurement is, as `calibrate` wrote it; None where too few were measured."""
    return msgspec.json.decode((folder / CERTAINTY).read_bytes(), type=list[Certainty | None])


def read_heads(folder: Path) -> tuple[DiseaseHead, ...]:
    """Return the calibrated heads that `calibrate` wrote."""
    read_settings(folder, STAGE, Calibrate)
    return tuple(msgspec.json.decode((folder / CALIBRATION).read_bytes(), type=list[DiseaseHead]))


def as_threshold_name(name: str) -> ThresholdName:
    """Return the text as the name of a threshold.

    Raises:
        InvalidSettings: no threshold has this name.
    """
    known: tuple[ThresholdName, ...] = get_args(ThresholdName)
    for threshold in known:
        if threshold == name:
            return threshold
    raise InvalidSettings(f"there is no threshold {name!r}: choose one of {', '.join(known)}")


def parse_prevalences(texts: list[str]) -> dict[Disease, float]:
    """Return the prevalences of options such as `heart_failure=0.02`.

    Raises:
        InvalidSettings: an option names no disease or no number.
    """
    return dict(_parsed(text) for text in texts)


def _parsed(text: str) -> tuple[Disease, float]:
    name, _, value = text.partition("=")
    try:
        return DISEASES[DISEASES.index(name)], float(value)
    except ValueError:
        known = ", ".join(DISEASES)
        raise InvalidSettings(f"{text!r} is not a prevalence: write DISEASE=SHARE; diseases are {known}") from None


def _cross_validated_loss(
    fit: Callable[[Floats, NDArray[np.bool_]], Calibration],
    logits: Floats,
    sick: NDArray[np.bool_],
    seed: int,
) -> float:
    from sklearn.metrics import log_loss

    probabilities = np.empty(len(logits))
    for train, left in _parts(logits, sick, seed):
        probabilities[left] = apply_calibration(logits[left], fit(logits[train], sick[train]))
    return float(log_loss(sick, probabilities))


def _parts(logits: Floats, sick: NDArray[np.bool_], seed: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    from sklearn.model_selection import StratifiedKFold

    yield from StratifiedKFold(PARTS, shuffle=True, random_state=seed).split(logits[:, None], sick)

"""The tables of `cardiacnets evaluate`: diseases, measurements, the model beside its baselines, real ECGs."""

from __future__ import annotations

import math

from rich.table import Table

from schemas.messages import NOTICE
from stream.plain_console import PlainConsole
from training.evaluation.baselines import READABLE, MissingBaseline
from training.evaluation.bootstrap import Estimate
from training.evaluation.evaluation import Evaluation
from training.evaluation.real_ecgs import RealEcgFigures
from training.evaluation.wording import figure

from .output import new_table

SHOWN_PHENOTYPES = ("LVEDV", "LVEF", "LVM", "RVEF", "LA_max_volume")


def print_tables(found: Evaluation, real: RealEcgFigures | None) -> None:
    """Print the tables, and what must be known about the weights and the patients."""
    console = PlainConsole()
    model, cohort = found.model, found.cohort
    console.print(
        f"{model.name} {model.version} ({model.weights}) on {cohort['evaluated']} records, {cohort['source']}"
    )
    if not found.unseen:
        learned_from = found.bundle.manifest.trained_on
        console.print(
            f"It is not known whether the model learned from some of these records ({learned_from}).", markup=False
        )
    console.print(_diseases_table(found), _phenotypes_table(found), _models_table(found), sep="\n\n")
    if real is not None:
        console.print(_real_table(real))
    console.print(NOTICE)


def _diseases_table(found: Evaluation) -> Table:
    table = new_table("disease", "ill", "AUROC", "sens.", "spec.", "PPV", "slope")
    for name, one in found.measures.diseases.items():
        at, calibration = one.flagging, one.calibration
        rates = [figure(rate) for rate in (at.sensitivity, at.specificity, at.ppv)] if at else ["-"] * 3
        ill, auroc = str(one.discrimination.positives), show_estimate(one.discrimination.auroc)
        table.add_row(name.replace("_", " "), ill, auroc, *rates, figure(calibration.calibration_slope))
    return table


def _phenotypes_table(found: Evaluation) -> Table:
    table = new_table("measurement", "R²", "MAE", "r", "limits of agreement")
    for name in SHOWN_PHENOTYPES:
        if one := found.measures.agreements.phenotypes.get(name):
            limits = f"{one.limits[0]:.1f} to {one.limits[1]:.1f} {one.unit}"
            table.add_row(name, f"{one.r2:.3f}", f"{one.mae:.2f}", f"{one.r:.3f}", limits)
    return table


def _models_table(found: Evaluation) -> Table:
    table = new_table("model", "macro AUROC", "mean R²")
    table.add_row(
        "this model", show_estimate(found.measures.macro_auroc), show_estimate(found.measures.agreements.mean_r2)
    )
    for name, baseline in found.baselines.items():
        if isinstance(baseline, MissingBaseline):
            table.add_row(READABLE[name], "absent", baseline.reason)
        else:
            measures = baseline.measures
            table.add_row(
                READABLE[name], show_estimate(measures.macro_auroc), show_estimate(measures.agreements.mean_r2)
            )
    return table


def _real_table(real: RealEcgFigures) -> Table:
    table = new_table("real ECGs", "with", "normal", "AUROC")
    for name, contrast in (
        ("MI or scar, by CAD probability", real.mi_or_scar_by_cad_probability),
        ("LVH, by predicted LV mass", real.lvh_by_predicted_lv_mass),
    ):
        table.add_row(name, str(contrast.positives), str(contrast.negatives), show_estimate(contrast.auroc))
    return table


def show_estimate(one: Estimate) -> str:
    """Return an estimate with its interval, short enough for a table on a terminal; a dash where there is none."""
    return "-" if math.isnan(one.value) else f"{one.value:.3f} ({one.low:.2f}-{one.high:.2f})"

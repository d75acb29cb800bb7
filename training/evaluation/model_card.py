"""The model card: what a model is, what it is for, what it is not for, and how good it was (Mitchell et al., 2019)."""

from __future__ import annotations

from collections.abc import Iterator

from inference.bundle import Bundle
from schemas.messages import DISEASES, NOTICE
from training.cohort.provenance import SIMULATED

from .evaluation import Evaluation
from .real_ecgs import RealEcgFigures
from .wording import figure, full, readable


def write_model_card(evaluation: Evaluation, real: RealEcgFigures | None) -> str:
    """Return the card in Markdown."""
    parts = (*_identity(evaluation), *_use(evaluation), *_figures(evaluation, real), *_caveats(evaluation))
    return "\n".join(parts) + "\n"


def _identity(evaluation: Evaluation) -> Iterator[str]:
    manifest = evaluation.bundle.manifest
    diseases = ", ".join(readable(disease) for disease in DISEASES)
    yield from (f"# Model card: {manifest.name}", "")
    yield f"- **Version** {manifest.version}, preset {manifest.preset}; licence {manifest.licence}"
    yield f"- **Weights** {manifest.weights}"
    yield f"- **Trained on** {manifest.trained_on}"
    yield f"- **Input** a 12-lead ECG of 9 to 10 s at rest, 100-1000 Hz; {manifest.input.n_crops} crops are averaged"
    calibration = tell_calibration(evaluation.bundle)
    yield f"- **Output** probabilities of {diseases} ({calibration}); 82 cardiac MR measurements; an embedding"
    yield f"- **Notes** {manifest.notes}"
    yield ""


def tell_calibration(bundle: Bundle) -> str:
    """Return what the bundle's probabilities and thresholds rest on."""
    if all(head.calibration for head in bundle.manifest.diseases):
        return "probabilities calibrated and thresholds fixed on development data"
    return "some or all of them not calibrated, with a placeholder for a threshold"


def _use(evaluation: Evaluation) -> Iterator[str]:
    yield from ("## Meant for", "")
    yield "Showing how ECG screening with CMR-aligned representations works, developing it, and teaching it."
    yield from ("", "## Not meant for", "")
    yield f"Any decision about a person. {NOTICE}"
    if evaluation.bundle.manifest.trained_on.startswith(SIMULATED):
        yield "Paced rhythms, children, ECGs on exertion and leads placed otherwise were not learned from."
    else:
        yield "Children, ECGs on exertion and leads placed otherwise: how good it is there was not looked at."
    yield ""


def _figures(evaluation: Evaluation, real: RealEcgFigures | None) -> Iterator[str]:
    yield from ("## How good it was", "")
    cohort, agreements = evaluation.cohort, evaluation.measures.agreements
    yield f"{cohort['evaluated']} ECGs of a {cohort['source']} cohort, 95 % intervals; more in `report.md`."
    yield from (
        "",
        "| disease | AUROC | sensitivity | specificity | PPV | calibration slope |",
        "|---|---:|---:|---:|---:|---:|",
    )
    for name, found in evaluation.measures.diseases.items():
        auroc, at = found.discrimination.auroc, found.flagging
        rates = [figure(rate) for rate in (at.sensitivity, at.specificity, at.ppv)] if at else ["-"] * 3
        slope = figure(found.calibration.calibration_slope)
        yield f"| {' | '.join((readable(name), full(auroc), *rates, slope))} |"
    yield ""
    yield f"Mean R² of {len(agreements.phenotypes)} measurements: {full(agreements.mean_r2)}."
    if lvef := agreements.phenotypes.get("LVEF"):
        low, high = lvef.limits
        yield f"LVEF: mean absolute error {lvef.mae:.1f} points, limits of agreement {low:.1f} to {high:.1f}."
    if real is not None:
        cad, mass = real.mi_or_scar_by_cad_probability.auroc, real.lvh_by_predicted_lv_mass.auroc
        yield (
            f"On {real.records} real ECGs: MI or scar against normal by CAD probability, AUROC {full(cad)}; "
            f"LVH against normal by predicted LV mass, AUROC {full(mass)}."
        )
    yield ""


def _caveats(evaluation: Evaluation) -> Iterator[str]:
    yield from ("## Caveats", "")
    if evaluation.cohort["source"] == SIMULATED:
        yield "- Simulated patients judge what was learned from simulated patients; a real clinic differs."
    yield "- Calibration and thresholds hold at the prevalence of the development data; elsewhere, calibrate again."
    if groups := ", ".join(name.replace("_", " ") for name in evaluation.subgroups):
        yield f"- Subgroups by {groups} are in the report; ethnicity is not known."
    yield "- A probability below the threshold rules nothing out."

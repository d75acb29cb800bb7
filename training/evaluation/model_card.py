"""The model card: what a model is, its intended use, and its performance (Mitchell et al., 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from inference.bundle import Bundle
from schemas.messages import DISEASES, NOTICE
from training.cohort.provenance import SIMULATED

from .evaluation import Evaluation
from .measures import DiseaseMeasures
from .real_ecgs import RealEcgFigures
from .wording import describe_calibration, figure, full, readable

PREVALENCE_CAVEAT = (
    "- Calibration and thresholds hold at the prevalence of the development data. Elsewhere, calibrate again."
)
NO_RULING_OUT = "- A probability below the threshold does not rule a disease out."


def write_model_card(evaluation: Evaluation, real: RealEcgFigures | None) -> str:
    """Return the card in Markdown."""
    parts = (
        *describe_identity(evaluation.bundle),
        *describe_use(evaluation.bundle),
        *_figures(evaluation, real),
        *_caveats(evaluation),
    )
    return "\n".join(parts) + "\n"


def describe_identity(bundle: Bundle) -> Iterator[str]:
    """Yield what a model is."""
    manifest = bundle.manifest
    diseases = ", ".join(readable(disease) for disease in DISEASES)
    yield from (f"# Model card: {manifest.name}", "")
    yield f"- **Version** {manifest.version}, preset {manifest.preset}; licence {manifest.licence}"
    yield f"- **Weights** {manifest.weights}"
    yield f"- **Trained on** {manifest.trained_on}"
    crops = manifest.input.n_crops
    yield f"- **Input** a 12-lead ECG at rest, of 9 to 10 s and 100 to 1000 Hz; {crops} crops are averaged"
    yield f"- **Output** probabilities of {diseases}; 82 cardiac MR measurements; an embedding"
    yield f"- **Calibration** {describe_calibration(bundle)}"
    yield f"- **Notes** {manifest.notes}"
    yield ""


def describe_use(bundle: Bundle) -> Iterator[str]:
    """Yield what a model is for, and what not."""
    yield from ("## Intended use", "")
    yield "To show how ECG screening with CMR-aligned representations works, to develop it, and to teach it."
    yield from ("", "## Not intended", "")
    yield f"No decision about a person may rest on this model. {NOTICE}"
    if bundle.manifest.trained_on.startswith(SIMULATED):
        yield "The model learned from no paced rhythms, no children, no exercise ECGs and no other lead positions."
    else:
        yield "Nobody has measured how good the model is for children, exercise ECGs or other lead positions."
    yield ""


def _figures(evaluation: Evaluation, real: RealEcgFigures | None) -> Iterator[str]:
    yield from ("## Performance", "")
    cohort, agreements = evaluation.cohort, evaluation.measures.agreements
    yield f"On {cohort['evaluated']} ECGs of a {cohort['source']} cohort, with 95 % intervals. `report.md` has more."
    yield from ("", *disease_lines(evaluation.measures.diseases))
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


def disease_lines(diseases: Mapping[str, DiseaseMeasures]) -> Iterator[str]:
    """Yield the table of the five diseases."""
    yield from (
        "| disease | AUROC | sensitivity | specificity | PPV | calibration slope |",
        "|---|---:|---:|---:|---:|---:|",
    )
    for name, found in diseases.items():
        auroc, at = found.discrimination.auroc, found.flagging
        rates = [figure(rate) for rate in (at.sensitivity, at.specificity, at.ppv)] if at else ["-"] * 3
        slope = figure(found.calibration.calibration_slope)
        yield f"| {' | '.join((readable(name), full(auroc), *rates, slope))} |"


def _caveats(evaluation: Evaluation) -> Iterator[str]:
    yield from ("## Caveats", "")
    if evaluation.cohort["source"] == SIMULATED:
        yield "- The model was evaluated on simulated patients. In a real clinic its performance is different."
    yield PREVALENCE_CAVEAT
    if groups := ", ".join(name.replace("_", " ") for name in evaluation.subgroups):
        yield f"- The report has subgroups by {groups}. Ethnicity is not known."
    yield NO_RULING_OUT

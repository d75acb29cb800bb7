"""What others have published on these archives, to stand beside our figures: what was measured, and on whom."""

from __future__ import annotations

from typing import NamedTuple

from schemas.messages import Disease


class Anchor(NamedTuple):
    """The AUROC of a published model for one code of ICD-10 and all that begin with it."""

    code: str
    auroc: float


ANCHORS: dict[Disease, Anchor] = {
    "coronary_artery_disease": Anchor("I25", 0.838),
    "cardiomyopathy": Anchor("I42", 0.887),
    "heart_failure": Anchor("I50", 0.896),
    "pulmonary_hypertension": Anchor("I27", 0.849),
    "pericarditis": Anchor("I31", 0.831),
}
"""Of a plain S4 network that learned from MIMIC-IV-ECG's ECGs and these codes, on patient-stratified test folds."""

PAPER = (
    (
        "CardioNets, MIMIC, pulmonary hypertension",
        "0.879 (0.853-0.903)",
        "0.853",
        "As many controls as cases were drawn, and records of one patient may lie in several splits.",
    ),
    (
        "CardioNets, UK Biobank, cardiomyopathy",
        "0.890 (0.836-0.944)",
        "0.867",
        "Volunteers, and not patients. CMR itself reaches 0.906.",
    ),
)
"""Of Ding et al. (NEJM AI 2026): task, AUROC, that of the best comparator, what to know of it."""

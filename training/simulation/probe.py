"""The probe of a bundle: crops of simulated ECGs. Bundles are passed on, so a probe never holds ECGs of patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.intake import take_in

from .ecg import generate_ecgs

PROBE_ECGS = 6
PROBE_SEED = 2024


def probe_crops() -> NDArray[np.float32]:
    """Return (6, 12, 2250) float32, one standardised crop an ECG; always the same."""
    return take_in(list(generate_ecgs(PROBE_ECGS, PROBE_SEED)), n_crops=1).inputs[:, 0]

"""The features that a frozen CMR tower reads off cines."""

from __future__ import annotations

import numpy as np
import torch  # noqa: TID253 - runs a network
from numpy.typing import NDArray

from .cmr_encoder import CmrTower, scale_cines

CINES_AT_ONCE = 64


@torch.inference_mode()
def read_cines(tower: CmrTower, cines: NDArray[np.uint8], scans: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the features (k, feature) of the scans of `cines` (m, 50, 96, 96)."""
    features = np.empty((len(scans), tower.readout.count), np.float32)
    for start in range(0, len(scans), CINES_AT_ONCE):
        batch = torch.from_numpy(cines[scans[start : start + CINES_AT_ONCE]])
        features[start : start + CINES_AT_ONCE] = tower(scale_cines(batch)).numpy()
    return features

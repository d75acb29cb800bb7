"""The kind of array that most of this storey computes with."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
"""Numbers in double precision; whoever takes or returns them says the shape."""

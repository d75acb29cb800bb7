"""What the 82 measurements can be in a living adult, and whether a column of them is in another unit.

The bounds are wide: they are to find a fraction where per cent is meant, centimetres for millimetres, a slip of the
finger, and never a disease.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.phenotypes import MEASUREMENTS, Measurement

FEWEST = 5
"""Values that say what is usual in a column."""
FACTORS = (100.0, 10.0, 1000.0, 0.1, 0.01, 0.001, -1.0, -100.0)
"""Between the units that people use: a fraction, cm and cm², L and mL; the sign of a strain."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of a measurement, in its unit.

    Attributes:
        low, high: no adult's value lies outside.
        usual: between these lies the median of any group of adults, sick or healthy.
    """

    low: float
    high: float
    usual: tuple[float, float]


_BOUNDS: tuple[tuple[str, Bounds], ...] = (
    ("[LR]VEDV", Bounds(20, 800, (50, 400))),
    ("[LR]VESV", Bounds(3, 700, (10, 350))),
    ("[LR]VSV", Bounds(3, 350, (20, 200))),
    ("[LR]VEF", Bounds(2, 95, (12, 85))),
    ("LVCO", Bounds(0.5, 25, (1.5, 15))),
    ("LVM", Bounds(10, 800, (30, 400))),
    ("[LR]A_max_volume", Bounds(3, 800, (15, 400))),
    ("[LR]A_min_volume", Bounds(1, 750, (5, 350))),
    ("[LR]ASV", Bounds(0.5, 300, (5, 150))),
    ("[LR]AEF", Bounds(1, 95, (10, 85))),
    (r"\w+_aorta_(max|min)_area", Bounds(50, 10_000, (150, 3000))),
    (r"\w+_aorta_distensibility", Bounds(0.01, 40, (0.1, 20))),
    (r"LV_wall_thickness_\w+", Bounds(0.5, 60, (2, 25))),
    (r"LV_(circumferential|longitudinal)_strain_\w+", Bounds(-70, 40, (-45, -3))),
    (r"LV_radial_strain_\w+", Bounds(-60, 250, (5, 150))),
)


def _bounds_of(measurement: Measurement) -> Bounds:
    return next(bounds for pattern, bounds in _BOUNDS if re.fullmatch(pattern, measurement.name))


BOUNDS: dict[str, Bounds] = {measurement.name: _bounds_of(measurement) for measurement in MEASUREMENTS}
"""By the name of the measurement."""


def find_other_unit(measurement: Measurement, values: Sequence[float]) -> str | None:
    """Return a sentence on a column whose values are not in the measurement's unit, or None.

    Args:
        measurement: of the column.
        values: that are known of it.
    """
    bounds = BOUNDS[measurement.name]
    known = np.asarray(values, np.float64)
    if not known.size or not _is_foreign(known, bounds):
        return None
    middle = float(np.median(known))
    return (
        f"{measurement.name} is in {measurement.unit}, usually {bounds.usual[0]:g} to {bounds.usual[1]:g}, and half of "
        f"the column's values are below {middle:g}{_advice(middle, bounds)}"
    )


def _is_foreign(known: np.ndarray[tuple[int], np.dtype[np.float64]], bounds: Bounds) -> bool:
    impossible = np.mean((known < bounds.low) | (known > bounds.high)) > 0.5
    low, high = bounds.usual
    return bool(impossible or (known.size >= FEWEST and not low <= np.median(known) <= high))


def _advice(middle: float, bounds: Bounds) -> str:
    low, high = bounds.usual
    fitting = [factor for factor in FACTORS if low <= middle * factor <= high]
    centre = np.sqrt(low * high)  # both are positive, or both are negative
    best = min(fitting, key=lambda factor: abs(np.log(abs(middle * factor) / centre)), default=None)
    return f": multiplied by {best:g}, they would fit" if best else ""

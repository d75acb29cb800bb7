"""The 82 cardiac MR measurements that the network estimates, in the order of UK Biobank fields 24100-24181.

They are those that Bai et al. ("A population-based phenome-wide association study of cardiac and aortic structure and
function", Nature Medicine 2020) derived from UK Biobank's scans.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

FIRST_FIELD = 24100
AHA_SEGMENTS = tuple(str(segment) for segment in range(1, 17))
LONG_AXIS_SEGMENTS = tuple(str(segment) for segment in range(1, 7))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One of the 82.

    Attributes:
        name: short and stable, as reports carry it.
        unit: of its values; strains are negative or positive percentages of the resting length.
        field: UK Biobank's field id.
    """

    name: str
    unit: str
    field: int


VENTRICLES = (
    ("LVEDV", "mL"),
    ("LVESV", "mL"),
    ("LVSV", "mL"),
    ("LVEF", "%"),
    ("LVCO", "L/min"),
    ("LVM", "g"),
    ("RVEDV", "mL"),
    ("RVESV", "mL"),
    ("RVSV", "mL"),
    ("RVEF", "%"),
)
ATRIA = (
    ("LA_max_volume", "mL"),
    ("LA_min_volume", "mL"),
    ("LASV", "mL"),
    ("LAEF", "%"),
    ("RA_max_volume", "mL"),
    ("RA_min_volume", "mL"),
    ("RASV", "mL"),
    ("RAEF", "%"),
)
AORTA = (
    ("ascending_aorta_max_area", "mm²"),
    ("ascending_aorta_min_area", "mm²"),
    ("ascending_aorta_distensibility", "10⁻³ mmHg⁻¹"),
    ("descending_aorta_max_area", "mm²"),
    ("descending_aorta_min_area", "mm²"),
    ("descending_aorta_distensibility", "10⁻³ mmHg⁻¹"),
)


def _segments(quantity: str, unit: str, segments: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return ((f"{quantity}_{segment}", unit) for segment in segments)


def _myocardium() -> Iterator[tuple[str, str]]:
    for quantity, unit in (
        ("LV_wall_thickness", "mm"),
        ("LV_circumferential_strain", "%"),
        ("LV_radial_strain", "%"),
    ):
        yield from _segments(f"{quantity}_AHA", unit, AHA_SEGMENTS)
        yield f"{quantity}_global", unit
    yield from _segments("LV_longitudinal_strain_segment", "%", LONG_AXIS_SEGMENTS)
    yield "LV_longitudinal_strain_global", "%"


MEASUREMENTS: tuple[Measurement, ...] = tuple(
    Measurement(name, unit, field)
    for field, (name, unit) in enumerate((*VENTRICLES, *ATRIA, *AORTA, *_myocardium()), FIRST_FIELD)
)

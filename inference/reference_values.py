"""What healthy hearts measure on CMR, by sex, as published: what simulated hearts are held against.

Only values that were looked up are here, each with where from. Two gaps: the UK Biobank's ranges of men's absolute
ventricular volumes could not be looked up, so another cohort of healthy adults stands in; its ranges of the atria could
not either, and have no stand-in that measures them the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

PETERSEN = "Petersen, JCMR 2017 19:18 (UK Biobank, 45-74 years), abstract"
PETERSEN_TABLE = "Petersen, JCMR 2017 19:18 (UK Biobank, 45-74 years), 95 % ranges of table 3, as cited by others"
HUDSMITH = "Hudsmith, JCMR 2005 7:775 (108 healthy adults of 21-68 years; papillary muscles not in the volumes)"
KAWEL = "Kawel, Circ Cardiovasc Imaging 2012 5:500 (MESA, 66 ± 9 years), mid-cavity, short axis"
STRAINS = "JCMR 2022, doi 10.1186/s12968-022-00881-1 (566 healthy Chinese adults, feature tracking)"


RANGE_SDS = 1.96
"""A range reaches so many standard deviations to either side, and covers 95 % of healthy people."""


@dataclass(frozen=True, slots=True)
class ReferenceValue:
    """Mean and standard deviation of a measurement among healthy women or men.

    Attributes:
        measurement: a name of `inference.phenotypes.MEASUREMENTS`, or one of `DERIVED`.
    """

    measurement: str
    female: bool
    mean: float
    sd: float
    source: str

    @property
    def low(self) -> float:
        """The lower end of the range of 95 % of healthy people."""
        return round(self.mean - RANGE_SDS * self.sd, 1)

    @property
    def high(self) -> float:
        """The upper end of that range."""
        return round(self.mean + RANGE_SDS * self.sd, 1)


DERIVED = {"LVM_index": "g/m²", "LV_wall_thickness_middle": "mm"}
"""Measurements that follow from the 82 and the body: mass over body surface, mean thickness of AHA segments 7-12."""


def _from_range(low: float, high: float) -> tuple[float, float]:
    """Return mean and standard deviation of a 95 % range."""
    return (low + high) / 2, (high - low) / 3.92


_WOMEN: dict[str, tuple[tuple[float, float], str]] = {
    "LVEDV": (_from_range(88, 161), PETERSEN_TABLE),
    "LVESV": (_from_range(31, 68), PETERSEN_TABLE),
    "LVSV": (_from_range(49, 100), PETERSEN_TABLE),
    "LVEF": ((61, 5), PETERSEN),
    "LVM_index": ((42, 7), PETERSEN),
    "RVEDV": (_from_range(85, 166), PETERSEN_TABLE),
    "RVESV": (_from_range(27, 77), PETERSEN_TABLE),
    "RVSV": (_from_range(48, 99), PETERSEN_TABLE),
    "RVEF": (_from_range(47, 68), PETERSEN_TABLE),
    "LV_wall_thickness_middle": ((5.3, 0.9), KAWEL),
    "LV_circumferential_strain_global": ((-20.7, 1.9), STRAINS),
    "LV_radial_strain_global": ((37.6, 6.1), STRAINS),
    "LV_longitudinal_strain_global": ((-17.8, 1.8), STRAINS),
}
_MEN: dict[str, tuple[tuple[float, float], str]] = {
    "LVEDV": ((160, 29), HUDSMITH),
    "LVESV": ((50, 16), HUDSMITH),
    "LVEF": ((58, 5), PETERSEN),
    "LVM_index": ((53, 9), PETERSEN),
    "RVEDV": ((190, 33), HUDSMITH),
    "RVESV": ((78, 20), HUDSMITH),
    "LV_wall_thickness_middle": ((6.3, 1.1), KAWEL),
    "LV_circumferential_strain_global": ((-18.8, 1.9), STRAINS),
    "LV_radial_strain_global": ((32.1, 5.3), STRAINS),
    "LV_longitudinal_strain_global": ((-15.6, 1.8), STRAINS),
}
REFERENCE_VALUES: tuple[ReferenceValue, ...] = tuple(
    ReferenceValue(name, female, mean, sd, source)
    for female, table in ((True, _WOMEN), (False, _MEN))
    for name, ((mean, sd), source) in table.items()
)

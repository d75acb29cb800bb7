"""The 82 measurements: their order is the order of the network's outputs, so it is pinned here."""

from collections import Counter

from inference.models.heads import N_PHENOTYPES
from inference.phenotypes import MEASUREMENTS

FIELDS = {measurement.field: measurement for measurement in MEASUREMENTS}


def test_there_are_82_with_the_consecutive_fields_of_uk_biobank():
    assert len(MEASUREMENTS) == N_PHENOTYPES == 82
    assert [measurement.field for measurement in MEASUREMENTS] == list(range(24100, 24182))


def test_no_name_is_used_twice():
    assert len({measurement.name for measurement in MEASUREMENTS}) == 82


def test_landmarks_stand_at_their_field():
    landmarks = {
        24100: ("LVEDV", "mL"),
        24103: ("LVEF", "%"),
        24104: ("LVCO", "L/min"),
        24105: ("LVM", "g"),
        24109: ("RVEF", "%"),
        24110: ("LA_max_volume", "mL"),
        24113: ("LAEF", "%"),
        24117: ("RAEF", "%"),
        24118: ("ascending_aorta_max_area", "mm²"),
        24120: ("ascending_aorta_distensibility", "10⁻³ mmHg⁻¹"),
        24123: ("descending_aorta_distensibility", "10⁻³ mmHg⁻¹"),
        24124: ("LV_wall_thickness_AHA_1", "mm"),
        24140: ("LV_wall_thickness_global", "mm"),
        24157: ("LV_circumferential_strain_global", "%"),
        24158: ("LV_radial_strain_AHA_1", "%"),
        24174: ("LV_radial_strain_global", "%"),
        24175: ("LV_longitudinal_strain_segment_1", "%"),
        24181: ("LV_longitudinal_strain_global", "%"),
    }
    assert {field: (FIELDS[field].name, FIELDS[field].unit) for field in landmarks} == landmarks


def test_every_group_has_the_published_size():
    groups = Counter(name.rpartition("_")[0].removesuffix("_AHA") for _, name in names_with("LV_"))
    assert groups["LV_wall_thickness"] == groups["LV_circumferential_strain"] == groups["LV_radial_strain"] == 17
    assert groups["LV_longitudinal_strain_segment"] == 6
    assert groups["LV_longitudinal_strain"] == 1
    assert len(names_with("ascending")) == len(names_with("descending")) == 3


def names_with(prefix):
    return [(m.field, m.name) for m in MEASUREMENTS if m.name.startswith(prefix)]

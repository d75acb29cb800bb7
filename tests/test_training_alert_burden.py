"""The alerts of all diseases together, against counts by hand."""

import msgspec
import numpy as np
import pytest

from inference.manifest import DiseaseHead, OperatingPoints, TemperatureCalibration
from training.evaluation.alert_burden import IN_USE, measure_burden, write_burden, write_predictive_values
from training.evaluation.bootstrap import draw_patients

POINTS = OperatingPoints(sensitivity_90=0.2, specificity_95=0.6, family_wise=0.8, family_wise_rate=0.1)
HEADS = [
    DiseaseHead(name=name, threshold=0.6, calibration=TemperatureCalibration(temperature=1.0), operating_points=POINTS)
    for name in ("heart_failure", "pericarditis")
]
PROBABILITIES = np.array([[0.9, 0.1], [0.7, 0.7], [0.1, 0.65], [0.3, 0.1], [0.1, 0.1]])
OUTCOMES = np.array([[1, 0], [0, 0], [1, 0], [0, np.nan], [0, 0]])


def burden():
    return measure_burden(PROBABILITIES, OUTCOMES, HEADS, draw_patients(np.array(list("abcde")), 200, 0))


def test_alerts_are_counted_over_all_diseases():
    one = burden()[IN_USE]
    assert one.alerts.value == pytest.approx(4 / 5)
    assert one.alerted.value == pytest.approx(3 / 5)
    assert one.family_wise.value == pytest.approx(1 / 3)  # of the second, the fourth and the fifth
    assert one.found.value == pytest.approx(1 / 2)  # the third has an alert for what it has not
    assert one.needed_to_image.value == pytest.approx(3)
    assert one.alerted.low < one.alerted.value < one.alerted.high


def test_every_operating_point_that_all_diseases_have_is_measured():
    found = burden()
    assert list(found) == [IN_USE, "family_wise", "specificity_95", "sensitivity_90"]
    assert found["family_wise"].alerts.value == pytest.approx(1 / 5)
    assert found["sensitivity_90"].alerted.value == pytest.approx(4 / 5)
    older = msgspec.structs.replace(HEADS[0], operating_points=OperatingPoints(sensitivity_90=0.2, specificity_95=0.6))
    weights = draw_patients(np.array(list("abcde")), 2, 0)
    assert "family_wise" not in measure_burden(PROBABILITIES, OUTCOMES, [older, HEADS[1]], weights)


def test_the_tables_say_rates_in_a_hundred():
    lines = list(write_burden(burden()))
    assert lines[2].startswith("| at which the bundle flags | 80.0 (")
    (row,) = [line for line in write_predictive_values({"heart failure": (0.8, 0.9)}) if "heart failure" in line]
    assert row.split(" | ")[2] == "7.5 / 99.8"  # at 1 %: 0.008 / (0.008 + 0.099)

"""What is measured in the ECG itself has columns of its own, behind all that were there before."""

import pyarrow as pa

from inference.ecg_measurements import UNITS
from schemas.messages import DISEASES, SUBTYPES, EcgMeasurement
from stream.backfill.columns import ECG, NOT_MEASURABLE, measurement_values, screened_fields
from stream.collecting.columns import SCREENED

NAMES = [*(f"{ECG}{name}" for name in UNITS), NOT_MEASURABLE]


def test_columns_are_added_at_the_end_with_their_units():
    fields = screened_fields(dict.fromkeys(DISEASES, ""), SUBTYPES, {"LVEF": "%"})
    verdicts = [*(f"verdict_{disease}" for disease in DISEASES), "not_assessable_reasons"]
    assert [field.name for field in fields[-16:]] == ["model_version", *NAMES, *verdicts]
    assert set(NAMES) <= set(SCREENED.names)
    for schema in (pa.schema(fields), SCREENED):
        units = [schema.field(name).metadata[b"unit"].decode() for name in NAMES[:-1]]
        assert units == list(UNITS.values())


def test_a_measurement_without_a_value_is_null_with_its_reason_beside_it():
    values = measurement_values(
        [
            EcgMeasurement(name="heart_rate", value=72.0, unit="/min", not_measurable=None),
            EcgMeasurement(name="pr_interval", value=None, unit="ms", not_measurable="no_p_wave"),
            EcgMeasurement(name="of_a_later_version", value=1.0, unit="ms", not_measurable=None),
        ]
    )
    assert list(values) == NAMES
    assert (values["ecg_heart_rate"], values["ecg_pr_interval"]) == (72.0, None)
    assert values["ecg_not_measurable"] == '{"pr_interval":"no_p_wave"}'


def test_an_answer_of_a_version_before_has_nulls():
    assert set(measurement_values([]).values()) == {None, "{}"}

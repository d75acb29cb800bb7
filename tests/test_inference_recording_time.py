"""A time of recording that cannot be true is a warning with its numbers, and never a reason to refuse the ECG."""

import io
from datetime import UTC, datetime, timedelta

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_schemas_writer_schema import OURS, RECORD, read, read_by, schema_of, written

from inference.intake import take_in
from inference.recording_time_doubt import doubt_time
from schemas.codec import AVRO_SCHEMA, decode_ecg, encode_ecg
from schemas.ecg_record import Remark
from schemas.errors import MalformedRecord
from training.simulation.ecg import generate_ecgs

NOW = datetime(2026, 5, 1, 9, 30, tzinfo=UTC)
MEANT = datetime(2026, 5, 1, 9, 29, 58, tzinfo=UTC)
SECONDS = int(MEANT.timestamp())
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
(ECG,) = generate_ecgs(1, 0)


def as_microseconds(number):
    return EPOCH + timedelta(microseconds=number)


IMPLAUSIBLE = {
    "a clock that was never set": (EPOCH, "before 1985"),
    "the first day of DOS": (datetime(1980, 1, 1, tzinfo=UTC), "before 1985"),
    "before 1970": (datetime(1, 1, 1, tzinfo=UTC), "before 1985"),
    "seconds for microseconds": (as_microseconds(SECONDS), "in seconds where microseconds are due, and 2026-05-01"),
    "milliseconds for microseconds": (as_microseconds(SECONDS * 1000), "in milliseconds where microseconds are due"),
    "local time as UTC": (
        NOW + timedelta(hours=2),
        "in the future: the device's clock may be wrong, or it tells a local",
    ),
    "dates that were shifted": (datetime(2150, 6, 1, tzinfo=UTC), "dates were shifted"),
    "the end of the calendar": (datetime.max.replace(tzinfo=UTC), "in the future"),
}


@pytest.mark.parametrize(("recorded_at", "said"), IMPLAUSIBLE.values(), ids=IMPLAUSIBLE)
def test_an_implausible_time_is_a_warning_and_the_sentence_says_why(recorded_at, said):
    record = msgspec.structs.replace(ECG, recorded_at=recorded_at)
    quality, plain = take_in([record, ECG], 1, NOW).outcomes
    (warning,) = [warning for warning in quality.warnings if warning not in plain.warnings]
    assert (warning.code, warning.numbers["recorded_at"]) == ("implausible_time", recorded_at.isoformat())
    assert said in warning.detail


def test_the_numbers_say_what_was_probably_meant_or_how_far_ahead_the_time_is():
    assert doubt_time(as_microseconds(SECONDS), NOW).numbers["would_be"] == MEANT.isoformat()
    assert doubt_time(NOW + timedelta(hours=2), NOW).numbers["ahead_s"] == 7200


@pytest.mark.parametrize(
    "recorded_at",
    [
        None,
        NOW,
        MEANT,
        NOW + timedelta(minutes=10),
        datetime(1989, 10, 1, tzinfo=UTC),
        datetime(1985, 1, 1, tzinfo=UTC),
    ],
)
def test_a_plausible_or_unknown_time_is_no_warning(recorded_at):
    assert doubt_time(recorded_at, NOW) is None


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.integers(1_600_000_000, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
)
def test_any_time_is_plausible_or_doubted(recorded_at, now):
    doubt = doubt_time(recorded_at, now)
    plausible = datetime(1985, 1, 1, tzinfo=UTC) <= recorded_at <= now + timedelta(minutes=10)
    assert (doubt is None) == plausible


def by_microseconds(number):
    """Return our own record with any number for its time."""
    schema = AVRO_SCHEMA | {
        "fields": [f | {"type": ["null", "long"]} if f["name"] == "recorded_at" else f for f in AVRO_SCHEMA["fields"]]
    }
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), RECORD | {"recorded_at": number})
    return out.getvalue()


def test_nanoseconds_are_beyond_the_calendar_and_the_record_is_read_without_its_time():
    record = decode_ecg(by_microseconds(SECONDS * 10**9))
    assert (record.recorded_at, record.record_id, record.site) == (None, "ecg-1", "ward 3")
    own, remark = record.remarks
    assert own == Remark("electrode_off", "V3 was off")
    assert remark.code == "implausible_time"
    assert "in nanoseconds where microseconds are due" in remark.detail
    assert MEANT.isoformat() in remark.detail
    assert decode_ecg(encode_ecg(record)) == record


@pytest.mark.parametrize(
    ("number", "said"),
    [(SECONDS * 10**6, "microseconds where milliseconds"), (SECONDS * 10**9, "nanoseconds where milliseconds")],
)
def test_a_schema_in_milliseconds_is_told_its_unit_too(number, said):
    types = OURS | {"recorded_at": {"type": "long", "logicalType": "timestamp-millis"}}
    plain = schema_of(types | {"recorded_at": "long"})
    record = read_by(schema_of(types), written(plain, RECORD | {"recorded_at": number}))
    assert record.recorded_at is None
    assert said in record.remarks[-1].detail


@pytest.mark.parametrize("number", [2**62, -(2**62), 5 * 10**18])
def test_a_number_that_is_no_time_in_any_unit_is_refused_by_the_name_of_the_field(number):
    with pytest.raises(MalformedRecord, match="recorded_at: its time is beyond the calendar"):
        decode_ecg(by_microseconds(number))


def test_seconds_in_a_schema_of_milliseconds_are_recognised():
    kind = {"type": "long", "logicalType": "timestamp-millis"}
    record = read(OURS | {"recorded_at": kind}, recorded_at=EPOCH + timedelta(milliseconds=SECONDS))
    assert "in seconds where milliseconds are due" in doubt_time(record.recorded_at, NOW).detail

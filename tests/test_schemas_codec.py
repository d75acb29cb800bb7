"""A record survives the wire; whatever else arrives is refused, cheaply, by one of two errors."""

import io
import json
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import fastavro
import msgspec
import numpy as np
import pytest
import zstandard
from contract import validate_message
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import AVRO_SCHEMA, decode_ecg, encode_ecg
from schemas.ecg_record import LEADS, EcgRecord, Remark
from schemas.errors import MalformedRecord, OversizedRecord, RecordError, UnknownSchema
from schemas.record_limits import MAX_HEADER_BYTES, MAX_SAMPLE_BYTES, MAX_VALUE_BYTES
from schemas.topics import ECG_RECORDS
from schemas.writer_schema import resolve_schema, shipped_schema

SCHEMA = fastavro.parse_schema(AVRO_SCHEMA)
WITHOUT_REMARKS = fastavro.parse_schema(AVRO_SCHEMA | {"fields": AVRO_SCHEMA["fields"][:-1]})
WITHOUT_SITE = fastavro.parse_schema(AVRO_SCHEMA | {"fields": AVRO_SCHEMA["fields"][:-2]})
SCHEMA_ID = 42
CONFLUENT_PREFIX = b"\x00\x00\x00\x00\x2a"
REGISTERED = resolve_schema(json.dumps(AVRO_SCHEMA), SCHEMA_ID)
FIRST_VERSION = "urn:cardiacnets:schema:v1.0:ecg_record.avsc"
SECOND_VERSION = "urn:cardiacnets:schema:v1.1:ecg_record.avsc"
NEWEST_VERSION = "urn:cardiacnets:schema:v1.2:ecg_record.avsc"

identifiers = st.text(st.characters(codec="utf-8"), min_size=1, max_size=256)
all_remarks = st.builds(
    Remark, st.from_regex("[a-z][a-z0-9_]{0,63}", fullmatch=True), st.text(st.characters(codec="utf-8"), max_size=256)
)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@st.composite
def records(draw):
    leads = draw(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=32), min_size=1, unique=True))
    n_samples = draw(st.integers(1, 40))
    size = 2 * len(leads) * n_samples
    return EcgRecord(
        record_id=draw(identifiers),
        leads=tuple(leads[:32]),
        sample_rate_hz=draw(positive),
        microvolts_per_step=draw(positive),
        samples=draw(st.binary(min_size=size, max_size=size))[: 2 * min(len(leads), 32) * n_samples],
        patient_id=draw(st.none() | identifiers),
        device_id=draw(st.none() | identifiers),
        recorded_at=draw(st.none() | st.datetimes(timezones=st.just(UTC))),
        age_years=draw(st.none() | st.floats(0, 150)),
        sex=draw(st.sampled_from([None, "female", "male"])),
        paced=draw(st.none() | st.booleans()),
        site=draw(st.none() | identifiers),
        remarks=tuple(draw(st.lists(all_remarks, max_size=16))),
    )


def typical(**changes):
    rng = np.random.default_rng(1)
    samples = np.cumsum(rng.integers(-9, 10, (12, 5000)), axis=1).astype("<i2").tobytes()
    record = EcgRecord(
        record_id="ecg-1",
        leads=LEADS,
        sample_rate_hz=500.0,
        microvolts_per_step=5.0,
        samples=samples,
        patient_id="p-1",
        recorded_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    )
    return msgspec.structs.replace(record, **changes)


def avro(samples, *, encoding="DELTA_ZSTD", **changes):
    """Write a record as a foreign device might: whatever it says is written."""
    fields = {
        "record_id": "ecg-1",
        "patient_id": None,
        "device_id": None,
        "recorded_at": None,
        "age_years": None,
        "sex": None,
        "paced": None,
        "leads": ["I", "II"],
        "sample_rate_hz": 500.0,
        "microvolts_per_step": 5.0,
        "n_samples": 3,
        "encoding": encoding,
        "samples": samples,
    }
    out = io.BytesIO()
    version = SCHEMA if "remarks" in changes else WITHOUT_REMARKS if "site" in changes else WITHOUT_SITE
    fastavro.schemaless_writer(out, version, fields | changes)
    return out.getvalue()


def registered(schema_id):
    """Find the one schema that is registered."""
    return REGISTERED if schema_id == SCHEMA_ID else shipped_schema(schema_id)


@given(records(), st.booleans(), st.sampled_from([None, SCHEMA_ID]))
def test_every_record_survives_the_wire_raw_compressed_and_framed(record, compress, schema_id):
    value = encode_ecg(record, compress=compress, schema_id=schema_id)
    assert value.startswith(CONFLUENT_PREFIX) == (schema_id is not None)
    assert decode_ecg(value, find_schema=registered) == record


@given(records(), st.booleans())
def test_what_is_encoded_is_valid_by_the_published_schema_and_begins_with_no_zero(record, compress):
    value = encode_ecg(record, compress=compress)
    validate_message(ECG_RECORDS, value)
    assert value[0] != 0


@given(st.binary(max_size=400), st.sampled_from([b"", CONFLUENT_PREFIX]))
def test_random_bytes_are_refused(value, prefix):
    with pytest.raises((MalformedRecord, OversizedRecord, UnknownSchema)):
        decode_ecg(prefix + value, find_schema=registered)


@given(records(), st.booleans(), st.data())
def test_a_record_cut_anywhere_is_refused(record, compress, data):
    value = encode_ecg(msgspec.structs.replace(record, site=None, remarks=()), compress=compress)
    with pytest.raises((MalformedRecord, OversizedRecord)):
        decode_ecg(value[: data.draw(st.integers(0, len(value) - 1))])


@given(records(), identifiers, st.booleans(), st.sampled_from([None, SCHEMA_ID]), st.data())
def test_a_record_with_a_site_cut_anywhere_is_refused_but_where_the_first_version_ended(
    record, site, compress, schema_id, data
):
    record = msgspec.structs.replace(record, site=site, remarks=())
    value = encode_ecg(record, compress=compress, schema_id=schema_id)
    ended = len(value) - len(site_bytes(site)) if schema_id is None else None
    end = data.draw(st.integers(0, len(value) - 1))
    if end == ended:
        assert decode_ecg(value[:end]) == msgspec.structs.replace(record, site=None)
        return
    with pytest.raises((MalformedRecord, OversizedRecord)):
        decode_ecg(value[:end], find_schema=registered)


@given(records(), st.lists(all_remarks, min_size=1, max_size=16), st.booleans(), st.data())
def test_a_record_with_remarks_cut_anywhere_is_refused_but_where_an_earlier_version_ended(
    record, remarks, compress, data
):
    record = msgspec.structs.replace(record, remarks=tuple(remarks))
    value = encode_ecg(record, compress=compress)
    without = msgspec.structs.replace(record, remarks=())
    samples_end = len(encode_ecg(msgspec.structs.replace(without, site=None), compress=compress))
    site_end = samples_end + len(site_bytes(record.site))
    end = data.draw(st.integers(0, len(value) - 1) | st.sampled_from([samples_end, site_end]))
    if end in {samples_end, site_end}:
        assert decode_ecg(value[:end]) == (without if end == site_end else msgspec.structs.replace(without, site=None))
        return
    with pytest.raises((MalformedRecord, OversizedRecord)):
        decode_ecg(value[:end])


def site_bytes(site):
    """Return a site as Avro writes it."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, ["null", "string"], site)
    return out.getvalue()


@given(records(), st.booleans(), st.data())
def test_one_changed_byte_gives_a_refusal_or_a_record_that_can_be_encoded(record, compress, data):
    value = bytearray(encode_ecg(record, compress=compress))
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_ecg(bytes(value))
    except (MalformedRecord, OversizedRecord):
        return
    except UnknownSchema:  # a first byte of 0 is how a frame of Confluent's begins, and the next four name its schema
        assert value[0] == 0
        return
    assert decode_ecg(encode_ecg(decoded)) == decoded


def test_differences_wrap_so_that_the_wildest_steps_survive():
    extremes = np.array([[-32768, 32767, -32768, 0, 32767, -1]], dtype="<i2").tobytes()
    record = typical(leads=("I",), samples=extremes)
    assert decode_ecg(encode_ecg(record)).samples == extremes


def test_the_differences_are_those_that_the_schema_describes():
    steps = np.array([[5, 7, 4], [-1, -1, 32767]], dtype="<i2")
    differences = struct.pack("<6h", 5, 2, -3, -1, 0, -32768)
    assert decode_ecg(avro(zstandard.compress(differences))).samples == steps.tobytes()


def test_compression_pays_on_a_smooth_record():
    assert len(encode_ecg(typical())) < len(encode_ecg(typical(), compress=False)) / 2


def test_a_frame_that_does_not_claim_its_size_is_read():
    samples = bytes(12)
    stream = zstandard.ZstdCompressor().compressobj()
    frame = stream.compress(samples) + stream.flush()
    assert zstandard.get_frame_parameters(frame).content_size == zstandard.CONTENTSIZE_UNKNOWN
    assert decode_ecg(avro(frame)).samples == samples


def test_a_time_in_another_zone_stays_the_same_instant():
    there = datetime(2026, 5, 1, 9, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert decode_ecg(encode_ecg(typical(recorded_at=there))).recorded_at == there


def test_threads_may_decode_and_encode_at_once():
    all_records = [typical(record_id=f"r{n}", microvolts_per_step=n + 1.0) for n in range(32)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda record: decode_ecg(encode_ecg(record)), all_records)) == all_records


IMPOSSIBLE = {
    "no id": {"record_id": ""},
    "an empty patient": {"patient_id": ""},
    "an empty site": {"site": ""},
    "a number for a site": {"site": 7},
    "a remark without a code": {"remarks": (Remark("", "text"),)},
    "a code that is a sentence": {"remarks": (Remark("It is so", "text"),)},
    "a code with a line feed": {"remarks": (Remark("code\n", "text"),)},
    "a number for a code": {"remarks": (Remark(7, "text"),)},
    "half a character in a remark": {"remarks": (Remark("code", "\ud800"),)},
    "no leads": {"leads": ()},
    "a nameless lead": {"leads": ("I", *LEADS[1:-1], "")},
    "two leads of one name": {"leads": ("I", *LEADS[1:-1], "I")},
    "unequal leads": {"samples": bytes(24 * 10 + 2)},
    "no samples": {"samples": b""},
    "a rate of 0": {"sample_rate_hz": 0.0},
    "a NaN rate": {"sample_rate_hz": float("nan")},
    "an infinite rate": {"sample_rate_hz": float("inf")},
    "a negative gain": {"microvolts_per_step": -5.0},
    "a NaN age": {"age_years": float("nan")},
    "an age of 200": {"age_years": 200.0},
    "a time without zone": {"recorded_at": datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)},
    "half a character": {"record_id": "\ud800"},
    "another sex": {"sex": "unknown"},
    "a number for a name": {"patient_id": 12},
    "text for a number": {"sample_rate_hz": "500"},
}


@pytest.mark.parametrize("changes", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
@pytest.mark.parametrize("compress", [True, False])
def test_an_impossible_record_is_not_encoded(changes, compress):
    with pytest.raises(MalformedRecord):
        encode_ecg(typical(**changes), compress=compress)


OVERSIZED = {
    "a long id": {"record_id": "x" * 257},
    "a long site": {"site": "x" * 257},
    "a long code": {"remarks": (Remark("x" * 65, "text"),)},
    "many leads": {"leads": tuple(f"L{n}" for n in range(33)), "samples": bytes(66)},
    "a long lead name": {"leads": ("x" * 33,)},
    "many samples": {"samples": bytes(24 * (MAX_SAMPLE_BYTES // 24 + 1))},
}


@pytest.mark.parametrize("changes", OVERSIZED.values(), ids=OVERSIZED)
def test_an_oversized_record_is_not_encoded(changes):
    with pytest.raises(OversizedRecord):
        encode_ecg(typical(**changes))


def test_the_largest_record_allowed_passes_both_ways():
    samples = np.random.default_rng(0).bytes(MAX_SAMPLE_BYTES // 64 * 64)
    record = typical(leads=tuple(f"{'x' * 30}{n:02}" for n in range(32)), samples=samples, record_id="𝄞" * 256)
    for compress in (True, False):
        assert decode_ecg(encode_ecg(record, compress=compress)) == record


CONTRADICTIONS = {
    "trailing bytes": avro(bytes(12), encoding="RAW") + b"x",
    "bytes after a site": avro(bytes(12), encoding="RAW", site="ward 3") + b"x",
    "half a site": avro(bytes(12), encoding="RAW", site="ward 3")[:-2],
    "an empty site": avro(bytes(12), encoding="RAW", site=""),
    "bytes after the remarks": avro(bytes(12), encoding="RAW", site=None, remarks=[]) + b"x",
    "half a remark": avro(bytes(12), encoding="RAW", site=None, remarks=[{"code": "a", "detail": "b"}])[:-2],
    "a code that is a sentence": avro(
        bytes(12), encoding="RAW", site=None, remarks=[{"code": "It is so", "detail": ""}]
    ),
    "too few samples": avro(bytes(10), encoding="RAW"),
    "too many samples": avro(bytes(14), encoding="RAW"),
    "no samples a lead": avro(b"", encoding="RAW", n_samples=0),
    "a negative count": avro(b"", encoding="RAW", n_samples=-3),
    "no zstd": avro(bytes(12)),
    "an empty frame": avro(b""),
    "a short frame": avro(zstandard.compress(bytes(10))),
    "a long frame": avro(zstandard.compress(bytes(14))),
    "two frames": avro(zstandard.compress(bytes(12)) * 2),
    "a cut frame": avro(zstandard.compress(bytes(12))[:-2]),
    "a time beyond the calendar": avro(bytes(12), encoding="RAW", recorded_at=2**62),
    "a rate that is no number": avro(bytes(12), encoding="RAW", sample_rate_hz=float("nan")),
}


@pytest.mark.parametrize("value", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_record_that_contradicts_itself_is_malformed(value):
    with pytest.raises(MalformedRecord):
        decode_ecg(value)


def unsized_bomb():
    stream = zstandard.ZstdCompressor(level=3).compressobj()
    return stream.compress(bytes(50 * 2**20)) + stream.flush()


def wide_window():
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return stream.compress(bytes(12)) + stream.flush()


HUGE = 50 * 2**20
HOSTILE = {
    "a zstd bomb": avro(zstandard.compress(bytes(HUGE))),
    "a bomb that hides its size": avro(unsized_bomb()),
    "a frame that asks for a wide window": avro(wide_window()),
    "a claim of 50 MB of samples": avro(zstandard.compress(bytes(12)), n_samples=HUGE // 4),
    "the most samples that an int can claim": avro(zstandard.compress(bytes(12)), n_samples=2**31 - 1),
    "bytes that claim 50 MB": avro(b"", encoding="RAW")[:-1] + b"\x80\x80\x80\x32" + bytes(12),
    "an id that claims 50 MB": b"\x80\x80\x80\x32" + bytes(100),
    "an array of a million empty leads": avro(b"", leads=[""] * 2**20),
    "a lead name of a megabyte": avro(b"", leads=["x" * 2**20]),
    "a million empty remarks": avro(bytes(12), encoding="RAW", site=None, remarks=[{"code": "", "detail": ""}] * 2**20),
    "many remarks": avro(bytes(12), encoding="RAW", site=None, remarks=[{"code": "a", "detail": ""}] * 17),
    "a remark of a megabyte": avro(
        bytes(12), encoding="RAW", site=None, remarks=[{"code": "a", "detail": "x" * 2**20}]
    ),
    "a remark that is too long": avro(
        bytes(12), encoding="RAW", site=None, remarks=[{"code": "a", "detail": "x" * 257}]
    ),
    "a message over the bound": bytes(MAX_VALUE_BYTES + 1),
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_message_is_refused_without_a_big_allocation(value):
    decode_ecg(avro(zstandard.compress(bytes(12))))
    tracemalloc.start()
    try:
        with pytest.raises((MalformedRecord, OversizedRecord)):
            decode_ecg(value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(value) + 2**20


def test_a_claim_beyond_the_bound_is_called_oversized():
    for name in ("a zstd bomb", "a frame that asks for a wide window", "a claim of 50 MB of samples"):
        with pytest.raises(OversizedRecord):
            decode_ecg(HOSTILE[name])


def test_a_refused_frame_leaves_its_sizes_as_evidence():
    with pytest.raises(OversizedRecord) as refusal:
        decode_ecg(HOSTILE["a zstd bomb"])
    assert refusal.value.numbers == {"sample_bytes": HUGE, "expected_bytes": 12}
    with pytest.raises(OversizedRecord) as refusal:
        decode_ecg(HOSTILE["a frame that asks for a wide window"])
    assert refusal.value.numbers == {"window_bytes": 2**27}
    with pytest.raises(MalformedRecord) as refusal:
        decode_ecg(CONTRADICTIONS["a cut frame"])
    assert refusal.value.numbers == {}


def test_a_refusal_names_the_record_where_the_header_could_be_read():
    for name in ("trailing bytes", "too few samples", "no zstd", "a cut frame"):
        with pytest.raises(RecordError) as refusal:
            decode_ecg(CONTRADICTIONS[name])
        assert refusal.value.record_id == "ecg-1"


def test_a_refusal_names_the_device_and_the_site_where_they_could_be_read():
    value = avro(bytes(10), encoding="RAW", device_id="cart-1", site="ward 3")
    with pytest.raises(MalformedRecord) as refusal:
        decode_ecg(value)
    assert (refusal.value.device_id, refusal.value.site) == ("cart-1", "ward 3")
    with pytest.raises(MalformedRecord) as refusal:
        decode_ecg(value[:-12])
    assert (refusal.value.device_id, refusal.value.site) == ("cart-1", None)


@pytest.mark.parametrize("value", [b"", CONFLUENT_PREFIX, b"\x0aecg-1", avro(b"", record_id="x" * 300)])
def test_a_refusal_names_no_record_where_there_is_no_fit_name(value):
    with pytest.raises(RecordError) as refusal:
        decode_ecg(value, find_schema=registered)
    assert refusal.value.record_id is None


def test_the_schema_explains_every_field_and_what_came_later_follows_the_samples_and_is_optional():
    assert all(field["doc"] for field in AVRO_SCHEMA["fields"])
    names = [field["name"] for field in AVRO_SCHEMA["fields"]]
    assert names[12:] == ["samples", "site", "remarks"]
    assert [field["default"] for field in AVRO_SCHEMA["fields"][13:]] == [None, []]


def test_a_record_without_a_site_is_written_as_the_first_version_wrote_it():
    value = encode_ecg(typical())
    assert encode_ecg(typical(site="ward 3")) == value + site_bytes("ward 3")
    assert decode_ecg(value, FIRST_VERSION.encode()) == typical()
    for later in (SECOND_VERSION, NEWEST_VERSION):
        with pytest.raises(MalformedRecord):
            decode_ecg(value, later.encode())


def test_a_record_without_remarks_is_written_as_the_second_version_wrote_it():
    record = typical(site="ward 3")
    value = encode_ecg(record)
    assert decode_ecg(value, SECOND_VERSION.encode()) == record
    with_remarks = encode_ecg(msgspec.structs.replace(record, remarks=(Remark("electrode_off", "V3 was off"),)))
    assert with_remarks.startswith(value)
    with pytest.raises(MalformedRecord):
        decode_ecg(with_remarks, SECOND_VERSION.encode())


def test_a_long_remark_is_cut_and_of_many_the_last_one_says_how_many_are_left_out():
    assert Remark("code", "µ" * 256).detail == "µ" * 256
    assert Remark("code", "µ" * 257).detail == "µ" * 255 + "…"
    remarks = tuple(Remark(f"code_{n}", "text") for n in range(20))
    assert decode_ecg(encode_ecg(typical(remarks=remarks[:16]))).remarks == remarks[:16]
    *kept, last = decode_ecg(encode_ecg(typical(remarks=remarks))).remarks
    assert tuple(kept) == remarks[:15]
    assert last == Remark("more_remarks", "5 more remarks are left out")


def test_the_longest_remarks_allowed_pass():
    remarks = tuple(Remark("x" * 64, "𝄞" * 256) for _ in range(16))
    assert decode_ecg(encode_ecg(typical(remarks=remarks))).remarks == remarks


def test_a_header_names_the_version_of_a_framed_value_too():
    framed = encode_ecg(typical(), schema_id=7)
    assert decode_ecg(framed, NEWEST_VERSION.encode()) == typical()
    with pytest.raises(MalformedRecord):
        decode_ecg(framed, FIRST_VERSION.encode())


@pytest.mark.parametrize(
    ("value", "data_schema", "said"),
    [
        (b"\x00\x00\x00\x01\x00" + encode_ecg(typical()), None, "schema 256"),
        (encode_ecg(typical(), schema_id=0), None, "schema 0"),
        (encode_ecg(typical()), b"urn:cardiacnets:schema:v9:ecg_record.avsc", "v9"),
        (encode_ecg(typical()), b"", "CARDIACNETS_SCHEMA_REGISTRY"),
        (encode_ecg(typical()), b"\xff", "not UTF-8"),
        (encode_ecg(typical()), b"x" * 3000, "longer"),
    ],
    ids=["framed", "framed with 0", "a version to come", "empty", "no text", "long"],
)
def test_a_schema_that_cannot_be_had_is_named_and_nothing_is_read_by_position(value, data_schema, said):
    with pytest.raises(UnknownSchema, match=said) as refusal:
        decode_ecg(value, data_schema)
    assert len(str(refusal.value)) < 300
    if data_schema is None:
        assert refusal.value.numbers == {"schema_id": int.from_bytes(value[1:5], "big")}
        assert "CARDIACNETS_SCHEMA_REGISTRY" in str(refusal.value)


def test_a_frame_and_a_header_that_name_different_schemas_are_a_contradiction():
    framed = encode_ecg(typical(), schema_id=7)
    with pytest.raises(MalformedRecord, match=r"schema 7.*schema 42"):
        decode_ecg(framed, b"http://registry/schemas/ids/42", lambda address: REGISTERED)


def test_the_longest_fields_allowed_fit_into_the_header():
    record = typical(
        record_id="𝄞" * 256,
        patient_id="𝄞" * 256,
        device_id="𝄞" * 256,
        leads=tuple(f"{'𝄞' * 30}{n:02}" for n in range(32)),
        samples=bytes(64),
    )
    assert len(encode_ecg(record)) < MAX_HEADER_BYTES
    assert decode_ecg(encode_ecg(record)) == record

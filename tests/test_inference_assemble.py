"""Of all that a file holds, the ECG that it means is taken; what was not recorded at one time is never put together."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.reading.assemble import assemble, in_steps
from inference.reading.recording import Channel, Part, Recording
from schemas.codec import decode_ecg, encode_ecg
from schemas.ecg_record import LEADS, MISSING_SAMPLE, Remark
from schemas.errors import UnreadableFile
from schemas.record_limits import MAX_SAMPLE_BYTES

PATH = Path("ward/ecg-1.dcm")
RATE = 250.0
LIMB, CHEST = LEADS[:6], LEADS[6:]
BERLIN = ZoneInfo("Europe/Berlin")
naive = datetime.fromisoformat


def channel(name, seconds=10.0, start_s=0.0, rate_hz=RATE, **fields):
    """A channel that tells from each sample when it was taken and in which lead: 1 µV a sample, 1 mV a lead."""
    first = round(start_s * rate_hz)
    steps = (np.arange(first, first + round(seconds * rate_hz)) % 900) + 1000 * (
        LEADS.index(name) if name in LEADS else 20
    )
    return Channel(name, steps / 1e3, rate_hz, start_s, **fields)


def part(title="the leads", names=LEADS, derived=False, **fields):
    return Part(title, tuple(channel(name, **fields) for name in names), derived)


def recording(*parts, **fields):
    return Recording("DICOM", parts, **fields)


def steps_of(record):
    return np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)


def codes(record):
    return [remark.code for remark in record.remarks]


def refused(*parts):
    with pytest.raises(UnreadableFile) as error:
        assemble(recording(*parts), PATH)
    assert str(PATH) in error.value.detail
    assert "DICOM" in error.value.detail
    return error.value


def test_a_median_beat_before_the_rhythm_is_passed_over():
    record = assemble(recording(part("group 1", seconds=1.2), part("group 2", seconds=10)), PATH)
    assert (record.n_samples, codes(record)) == (2500, [])


def test_limb_and_chest_leads_of_two_groups_make_one_ecg():
    record = assemble(recording(part("limb", LIMB), part("chest", CHEST)), PATH)
    assert record.leads == LEADS
    np.testing.assert_array_equal(steps_of(record)[:, 0], 1000 * np.arange(12))


def test_a_lead_of_which_two_groups_have_different_samples_is_doubted():
    limb, chest, strip = part("limb", LIMB), part("chest", CHEST), part("strip", ["II"], seconds=2.5, start_s=1.0)
    other = Part("other", (Channel("II", strip.channels[0].millivolts + 0.1, RATE, 1.0),))
    assert codes(assemble(recording(limb, chest, strip), PATH)) == []
    record = assemble(recording(limb, chest, other), PATH)
    assert [remark.code for remark in record.remarks] == ["lead_twice"]
    assert "different samples of II" in record.remarks[0].detail
    assert steps_of(record)[1, 0] == 1000


def test_groups_at_different_rates_are_not_put_together():
    error = refused(part("limb", LIMB), part("chest", CHEST, rate_hz=500.0))
    assert error.wire_code == "not_simultaneous"
    assert "limb: I, II, III, aVR, aVL, aVF for 10 s at 250 Hz" in error.detail


def test_ten_seconds_are_taken_before_nine_and_what_was_recorded_before_what_was_computed():
    nine, ten = part("nine", seconds=9), part("ten", seconds=10, start_s=20)
    assert assemble(recording(nine, ten), PATH).n_samples == 2500
    record = assemble(recording(part("filtered", derived=True), nine), PATH)
    assert (record.n_samples, codes(record)) == (2250, ["several_recordings"])


def test_a_computed_ecg_is_taken_with_a_remark_where_there_is_no_other():
    record = assemble(recording(part("filtered", derived=True)), PATH)
    assert codes(record) == ["derived_signal"]


def test_of_several_usable_recordings_the_first_in_time_is_taken_and_the_others_are_told():
    later, first = part("rest 2", start_s=60), part("rest 1", start_s=5)
    record = assemble(recording(later, first, part("rest 3", start_s=90)), PATH)
    np.testing.assert_array_equal(steps_of(record)[0, :1], [(5 * 250) % 900])
    assert [remark.detail for remark in record.remarks] == ["the file holds 3 usable ECGs: rest 1 was taken"]


def test_a_rate_that_the_gate_accepts_is_taken_before_another():
    assert assemble(recording(part(rate_hz=4000.0), part(start_s=1)), PATH).sample_rate_hz == RATE
    assert assemble(recording(part(rate_hz=4000.0)), PATH).sample_rate_hz == 4000


def test_leads_that_begin_at_different_times_are_put_on_one_time_line():
    late = [channel(name, seconds=12 - LEADS.index(name) * 0.1, start_s=LEADS.index(name) * 0.1) for name in LEADS]
    record = assemble(recording(Part("the leads", tuple(late)), recorded_at=datetime(2026, 1, 1, tzinfo=UTC)), PATH)
    steps = steps_of(record)
    assert (steps - steps[:1] == 1000 * np.arange(12)[:, None]).all()
    assert (codes(record), record.n_samples) == (["leads_aligned"], round(10.9 * 250))
    assert record.recorded_at == datetime(2026, 1, 1, 0, 0, 1, 100000, tzinfo=UTC)


def test_a_skew_below_a_sample_is_left_alone():
    skewed = Part("the leads", tuple(channel(name, start_s=LEADS.index(name) * 0.0001) for name in LEADS))
    record = assemble(recording(skewed), PATH)
    assert (codes(record), record.n_samples) == ([], 2500)


def test_three_by_four_leads_of_two_and_a_half_seconds_are_refused():
    rows = [LEADS[start : start + 3] for start in range(0, 12, 3)]
    columns = [part(f"group {place}", row, seconds=2.5, start_s=2.5 * place) for place, row in enumerate(rows)]
    for parts in (columns, [Part("one", tuple(c for column in columns for c in column.channels))]):
        error = refused(*parts)
        assert error.wire_code == "not_simultaneous"
        assert "not recorded at one time" in error.detail


def test_a_printed_page_of_columns_and_a_rhythm_strip_is_refused_too():
    rows = [LEADS[start : start + 3] for start in range(0, 12, 3)]
    columns = [part(f"column {place}", row, seconds=2.5, start_s=2.5 * place) for place, row in enumerate(rows)]
    assert refused(*columns, part("strip", ["II"])).wire_code == "not_simultaneous"


def test_segments_that_follow_each_other_are_one_recording_and_a_short_gap_is_missing_samples():
    segments = [part(f"segment {n}", seconds=4, start_s=4 * n + 0.1 * (n == 2)) for n in range(3)]
    record = assemble(recording(*segments), PATH)
    missing = (steps_of(record) == MISSING_SAMPLE).sum(axis=1)
    assert record.n_samples == 3025
    np.testing.assert_array_equal(missing, 25)


def test_segments_a_minute_apart_are_refused_segment_by_segment():
    error = refused(*(part(f"segment {n}", seconds=1, start_s=60 * n) for n in range(10)))
    assert "segment 1: I, II, III" in error.detail
    assert "60 s later" in error.detail
    assert "2 further parts" in error.detail


def test_two_different_channels_of_one_name_are_refused_by_name():
    twice = (*part().channels, channel("V3", start_s=0.02))
    error = refused(Part("the leads", twice), part("median", seconds=1))
    assert (error.wire_code, error.numbers) == ("duplicate_lead", {"leads": "V3"})
    assert assemble(recording(Part("twice", twice), part("once")), PATH).n_samples == 2500


def test_a_channel_that_comes_twice_sample_for_sample_is_taken_once():
    twice = part().channels
    record = assemble(recording(Part("the leads", (*twice, *twice[:3]))), PATH)
    assert record.leads == LEADS


def test_a_lead_in_an_unknown_unit_is_named_in_the_error():
    channels = (*part(names=LEADS[:11]).channels, channel("V6", unusable="in mmHg"))
    error = refused(Part("group 1", channels))
    assert (error.wire_code, error.numbers) == ("missing_lead", {"leads": "V6"})
    assert "V6 in mmHg" in error.detail


def test_what_holds_no_lead_says_what_it_holds():
    assert "group 1: no standard lead, but 'ABP', 'RESP'" in refused(part("group 1", ["ABP", "RESP"])).detail
    assert "It holds: nothing" in refused().detail


def test_one_short_part_is_left_to_the_gate_and_several_are_told():
    assert assemble(recording(part(seconds=3)), PATH).n_samples == 750
    error = refused(part("first", seconds=3), part("second", seconds=2))
    assert error.wire_code == "too_short"


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({"rate_hz": 0.0}, "I at 0 samples"),
        ({"rate_hz": float("nan")}, "I at nan"),
        ({"start_s": float("inf")}, "inf s later"),
    ],
)
def test_a_channel_of_impossible_times_is_named_and_leaves_the_others_alone(times, said):
    broken = Part("broken", (Channel("I", np.zeros(10), **({"rate_hz": RATE} | times)),))
    assert said in refused(broken).detail
    assert assemble(recording(broken, part()), PATH).n_samples == 2500


def test_a_recording_that_is_too_long_for_the_wire_is_cut():
    seconds = 1.2 * MAX_SAMPLE_BYTES / 24 / RATE
    record = assemble(recording(part(seconds=seconds)), PATH)
    assert len(record.samples) <= MAX_SAMPLE_BYTES < len(record.samples) + 24
    assert codes(record) == ["cut_to_fit"]
    assert decode_ecg(encode_ecg(record)) == record


def test_missing_samples_stay_where_they_are_for_the_gate_to_judge():
    holes = part(seconds=14)
    holes.channels[4].millivolts[:500] = np.nan
    record = assemble(recording(holes), PATH)
    np.testing.assert_array_equal((steps_of(record) == MISSING_SAMPLE).sum(axis=1), 500 * (np.arange(12) == 4))


@pytest.mark.parametrize("step_uv", [0.183, 1.25, 2.5, 4.88, 5.0])
def test_the_step_of_the_file_is_kept_and_so_are_its_samples(step_uv):
    steps = np.random.default_rng(0).integers(-32767, 32768, (12, 2500))
    channels = tuple(
        Channel(name, row * step_uv / 1e3, RATE, step_uv=step_uv) for name, row in zip(LEADS, steps, strict=True)
    )
    record = assemble(recording(Part("the leads", channels)), PATH)
    assert record.microvolts_per_step == step_uv
    np.testing.assert_array_equal(steps_of(record), steps)


def test_leads_of_different_steps_lose_less_than_half_of_the_finest():
    steps = np.random.default_rng(0).integers(-3000, 3000, (12, 2500))
    own = [0.5, 0.7, *[1.3] * 10]
    millivolts = steps * np.array(own)[:, None] / 1e3
    channels = tuple(
        Channel(name, row, RATE, step_uv=step) for name, row, step in zip(LEADS, millivolts, own, strict=True)
    )
    record = assemble(recording(Part("the leads", channels)), PATH)
    np.testing.assert_allclose(steps_of(record) * record.microvolts_per_step / 1e3, millivolts, atol=0.000251)


@given(
    step_uv=st.floats(1e-4, 1e4) | st.none(),
    values=st.lists(st.floats(-1e3, 1e3) | st.just(float("nan")), min_size=1, max_size=50),
)
def test_no_step_clips_or_invents_a_sample(step_uv, values):
    millivolts = np.array([values])
    steps, found_uv = in_steps(millivolts, step_uv)
    np.testing.assert_array_equal(steps == MISSING_SAMPLE, np.isnan(millivolts))
    known = ~np.isnan(millivolts)
    off_uv = np.abs(steps[known] * found_uv - millivolts[known] * 1e3)
    assert (off_uv <= found_uv * 0.5001).all()


@pytest.mark.parametrize(
    ("written", "zone", "instant", "doubts"),
    [
        (naive("2026-07-01T12:00:00"), BERLIN, datetime(2026, 7, 1, 10, tzinfo=UTC), []),
        (naive("2026-01-01T12:00:00"), BERLIN, datetime(2026, 1, 1, 11, tzinfo=UTC), []),
        (
            datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=-5))),
            BERLIN,
            datetime(2026, 1, 1, 17, tzinfo=UTC),
            [],
        ),
        # Clocks went from 2:00 to 3:00, so 2:30 is 3:30; and from 3:00 back to 2:00, so 2:30 came twice.
        (naive("2026-03-29T02:30:00"), BERLIN, datetime(2026, 3, 29, 1, 30, tzinfo=UTC), ["recorded_at_unsure"]),
        (naive("2026-10-25T02:30:00"), BERLIN, datetime(2026, 10, 25, 0, 30, tzinfo=UTC), ["recorded_at_unsure"]),
        (naive("0001-01-01T00:00:00"), BERLIN, None, ["recorded_at_impossible"]),
        (None, BERLIN, None, []),
    ],
)
def test_the_time_of_recording_is_an_instant(written, zone, instant, doubts):
    record = assemble(recording(part(), recorded_at=written), PATH, zone)
    assert (record.recorded_at, codes(record)) == (instant, doubts)


def test_a_stretch_that_crosses_a_change_of_clocks_begins_when_it_began():
    before = naive("2026-03-29T01:59:58")
    record = assemble(recording(part(start_s=5), recorded_at=before), PATH, BERLIN)
    assert record.recorded_at == datetime(2026, 3, 29, 1, 0, 3, tzinfo=UTC)


def test_a_time_without_a_zone_is_that_of_this_computer():
    written = naive("2026-07-01T12:00:00")
    record = assemble(recording(part(), recorded_at=written), PATH)
    assert record.recorded_at == written.astimezone(UTC)


def test_what_the_reader_doubts_becomes_remarks_of_the_record():
    doubts = (Remark("library_warning", "pydicom warns of a length"),) * 2
    record = assemble(recording(part(), remarks=doubts), PATH)
    assert record.remarks == doubts[:1]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([LEADS, LIMB, CHEST, LEADS[:2], ("II", "II"), ()]),
            st.sampled_from([0.5, 2.5, 4.5, 9, 10, 11]),
            st.integers(0, 40).map(lambda half: half / 2),
            st.booleans(),
            st.sampled_from([100.0, 250.0]),
        ),
        max_size=6,
    )
)
def test_whatever_the_parts_are_leads_of_one_record_are_simultaneous(drawn):
    parts = [
        part(f"part {place}", names, seconds=seconds, start_s=start_s, derived=derived, rate_hz=rate_hz)
        for place, (names, seconds, start_s, derived, rate_hz) in enumerate(drawn)
    ]
    try:
        record = assemble(recording(*parts), PATH)
    except UnreadableFile:
        return
    steps = steps_of(record)
    places = np.array([LEADS.index(name) for name in record.leads])
    known = steps != MISSING_SAMPLE
    times = np.where(known, steps - 1000 * places[:, None], -1)
    assert ((times == times.max(axis=0)) | ~known).all()

"""ECGs in XML, each kind of trouble by its name: GE MUSE, HL7 aECG, Philips Sierra, and XML itself."""

import base64
import json
import warnings
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import made_xml
import msgspec
import numpy as np
import pytest
from fuzz_readers import examine
from fuzz_targets import PYTHON_MESSAGE, Target
from hypothesis import given, settings
from hypothesis import strategies as st
from made_xml import (
    AECG_AGE,
    AECG_SUBJECT,
    EIGHT,
    MUSE_DEMOGRAPHICS,
    SIERRA_STATEMENT,
    aecg,
    aecg_series,
    aecg_set,
    counts,
    muse,
    muse_diagnosis,
    muse_lead,
    muse_waveform,
    sierra,
)
from needed import ECGS, needs_real_ecgs

from inference.intake import take_in
from inference.reading.aecg_sequences import MAX_DIGITS
from inference.reading.assemble import assemble
from inference.reading.content import HEAD_BYTES
from inference.reading.formats import format_of
from inference.reading.read_ecg import read_ecg
from inference.reading.xml_content import MAX_ATTRIBUTES, MAX_XML_BYTES, parse_xml
from schemas.codec import decode_ecg, encode_ecg
from schemas.ecg_record import LEADS, MISSING_SAMPLE
from schemas.errors import UnreadableFile
from schemas.messages import Quality

LIMB, CHEST = LEADS[:6], LEADS[6:]


@pytest.fixture
def read(tmp_path):
    """Read a content as `screen` does."""

    def read_content(content, zone=UTC, name="a.xml"):
        (tmp_path / name).write_bytes(content)
        record = read_ecg(tmp_path / name, zone)
        assert decode_ecg(encode_ecg(record)) == record
        assert b"Roe" not in msgspec.json.encode(record)
        return record

    return read_content


@pytest.fixture
def refused(read):
    """Return the refusal of a content: a sentence of ours."""

    def refuse(content):
        with pytest.raises(UnreadableFile) as error:
            read(content)
        assert not PYTHON_MESSAGE.search(error.value.detail)
        assert "\n" not in error.value.detail
        assert len(error.value.detail) < 2000
        return error.value

    return refuse


def steps(record):
    return np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)


def millivolts(record):
    samples = steps(record)
    return np.where(samples == MISSING_SAMPLE, np.nan, samples * record.microvolts_per_step / 1e3)


def codes(record):
    return [remark.code for remark in record.remarks]


# --- GE MUSE ---------------------------------------------------------------------------------------------------------


def test_eight_leads_of_muse_stay_eight_with_the_very_samples_of_the_file(read):
    record = read(muse(muse_waveform()))
    assert (record.leads, record.sample_rate_hz, record.microvolts_per_step) == (EIGHT, 250.0, 4.88)
    np.testing.assert_array_equal(steps(record), counts(EIGHT, 2500))
    assert isinstance(take_in([record], 1).outcomes[0], Quality)


def test_a_short_strip_before_the_ten_seconds_does_not_stand_for_the_file(read):
    record = read(muse(muse_waveform(seconds=2.5), muse_waveform(seconds=10, first=77)))
    np.testing.assert_array_equal(steps(record), counts(EIGHT, 2500, first=77))


@needs_real_ecgs
def test_the_faulty_file_of_muse_with_a_short_strip_first_gives_its_ten_seconds():
    record = read_ecg(ECGS / "faults" / "muse_short_strip_first.xml")
    assert (record.n_samples, record.leads, record.age_years) == (2500, EIGHT, 61)


def test_a_median_beat_is_never_taken_for_the_rhythm(read, refused):
    median = muse_waveform(kind="Median", seconds=10, first=5)
    record = read(muse(median, muse_waveform()))
    np.testing.assert_array_equal(steps(record), counts(EIGHT, 2500))
    assert codes(read(muse(median))) == ["derived_signal"]
    assert (
        "waveform 1 (Median)"
        in refused(muse(muse_waveform(kind="Median", seconds=1.2), muse_waveform(seconds=5))).detail
    )


def test_a_waveform_of_pace_spikes_is_no_ecg(refused):
    assert "waveform of type PaceSpike" in refused(muse(muse_waveform(kind="PaceSpike"))).detail


def test_limb_and_chest_waveforms_of_one_time_make_one_ecg(read):
    record = read(muse(muse_waveform(leads=("I", "II")), muse_waveform(leads=CHEST)))
    assert record.leads == EIGHT


@pytest.mark.parametrize(
    "late", [{"start": 10_000}, {"lead_fields": "<LeadOffsetFirstSample>2500</LeadOffsetFirstSample>"}]
)
def test_leads_of_muse_that_were_recorded_one_after_the_other_are_refused(refused, late):
    error = refused(muse(muse_waveform(leads=("I", "II")), muse_waveform(leads=CHEST, **late)))
    assert error.wire_code == "not_simultaneous"
    assert "10 s later" in error.detail


def test_the_exponent_of_the_sample_rate_counts(read):
    assert read(muse(muse_waveform(rate=5, exponent=2))).sample_rate_hz == 500.0
    assert read(muse(muse_waveform(rate=5000, exponent=-1))).sample_rate_hz == 500.0


@pytest.mark.parametrize("base", ["0", "-500", "nan", "", "fast", "1e400"])
def test_a_waveform_without_a_sample_rate_is_refused_in_words(refused, base):
    content = muse(muse_waveform()).replace(b"<SampleBase>250<", f"<SampleBase>{base}<".encode())
    assert "gives no sample rate" in refused(content).detail


@pytest.mark.parametrize(
    ("units", "per_bit", "step_uv"), [("MILLIVOLTS", "0.00488", 4.88), ("MICROVOLTS", "4,88", 4.88)]
)
def test_the_scale_of_muse_is_read_in_its_unit(read, units, per_bit, step_uv):
    assert read(muse(muse_waveform(units=units, per_bit=per_bit))).microvolts_per_step == pytest.approx(step_uv)


@pytest.mark.parametrize(
    "lead", [{"units": "COUNTS"}, {"units": ""}, {"per_bit": ""}, {"per_bit": "0"}, {"per_bit": "1,000"}]
)
def test_samples_of_muse_whose_scale_or_unit_is_not_known_are_refused_and_never_guessed(refused, lead):
    error = refused(muse(muse_waveform(**lead)))
    assert "LeadAmplitudeUnits" in error.detail or "'COUNTS', which is no unit of voltage" in error.detail


def with_lead(name, **fields):
    """Return a waveform of 12 leads of which one is otherwise."""
    rows = counts(LEADS, 2500)
    data = "".join(
        muse_lead(lead, row, **(fields if lead == name else {})) for lead, row in zip(LEADS, rows, strict=True)
    )
    return muse(f"<Waveform><SampleBase>250</SampleBase><SampleExponent>0</SampleExponent>{data}</Waveform>")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"data": "AAA*"}, "V2 with damaged Base64"),
        ({"data": "AAAA"}, "V2 with 3 bytes, which are not samples of 2 bytes each"),
        ({"data": ""}, "V2 without samples"),
        ({"count": 2499}, "V2 with 2500 samples, where the file says 2499"),
    ],
)
def test_damaged_base64_and_lengths_that_contradict_each_other_are_named_by_lead(refused, fields, words):
    error = refused(with_lead("V2", **fields))
    assert error.wire_code == "missing_lead"
    assert words in error.detail


def test_a_damaged_lead_that_follows_from_others_does_not_cost_the_record(read):
    record = read(with_lead("III", data="AAA*"))
    assert "III" not in record.leads
    assert [(remark.code, "III with damaged Base64" in remark.detail) for remark in record.remarks] == [
        ("part_unread", True)
    ]
    assert isinstance(take_in([record], 1).outcomes[0], Quality)


def test_a_checksum_that_does_not_fit_is_told(read):
    record = read(with_lead("V3", crc=1))
    assert [(remark.code, "V3" in remark.detail) for remark in record.remarks] == [("file_checksum", True)]


def test_what_the_device_marked_is_told_with_the_leads(read):
    fields = "<LeadOff>TRUE</LeadOff><BaselineSway>TRUE</BaselineSway><MuscleNoise>FALSE</MuscleNoise>"
    record = read(with_lead("V4", lead_fields=fields + "<FirstSampleBaseline>12</FirstSampleBaseline>"))
    assert codes(record) == ["doubtful_lead", "doubtful_lead", "offset_not_applied"]
    assert "'V4'" in record.remarks[0].detail


def test_the_time_of_muse_is_american_and_in_the_zone_that_the_caller_says(read):
    record = read(muse(muse_waveform(), demographics=MUSE_DEMOGRAPHICS), ZoneInfo("America/New_York"))
    assert record.recorded_at == datetime(2020, 7, 4, 17, 5, 9, tzinfo=UTC)
    assert (record.age_years, record.sex) == (61, "female")


@pytest.mark.parametrize("day", ["25-12-2020", "12-07-20x", "2020", "00-00-0000"])
def test_a_date_that_muse_does_not_write_is_left_out_and_told(read, day):
    record = read(muse(muse_waveform(), demographics=MUSE_DEMOGRAPHICS.replace("07-04-2020", day)))
    assert record.recorded_at is None
    assert codes(record) == ["recorded_at_unreadable"]


@pytest.mark.parametrize(("unit", "age"), [("MONTHS", 61 / 12), ("", None), ("DOGYEARS", None), ("Years", 61)])
def test_an_age_of_muse_has_a_unit_or_is_not_known(read, unit, age):
    record = read(muse(muse_waveform(), demographics=MUSE_DEMOGRAPHICS.replace("YEARS", unit)))
    assert record.age_years == (None if age is None else pytest.approx(age))


@pytest.mark.parametrize(
    ("diagnosis", "paced"),
    [
        (muse_diagnosis(("Electronic ventricular pacemaker", "ENDSLINE")), True),
        (muse_diagnosis(("Electronic ventricular", ""), ("pacemaker", "ENDSLINE")), True),
        (muse_diagnosis(("Sinus rhythm", "ENDSLINE"), ("not paced", "ENDSLINE")), False),
        (muse_diagnosis(("Sinus rhythm", ""), ("not", ""), ("paced", "ENDSLINE")), False),
        (muse_diagnosis(("Ventricular-paced rhythm", "DELETED"), ("Sinus rhythm", "ENDSLINE")), None),
        (muse_diagnosis(("Wandering atrial pacemaker", "ENDSLINE")), None),
        (muse_diagnosis(("Ventricular-paced rhythm", ""), tag="OriginalDiagnosis"), True),
        (
            muse_diagnosis(("Sinus rhythm", ""))
            + muse_diagnosis(("Ventricular-paced rhythm", ""), tag="OriginalDiagnosis"),
            None,
        ),
        ("", None),
    ],
)
def test_not_paced_is_not_paced_and_a_deleted_statement_is_none(read, diagnosis, paced):
    assert read(muse(muse_waveform(), diagnosis=diagnosis)).paced is paced


def test_a_muse_file_without_waveforms_says_so(refused):
    assert "no Waveform element" in refused(muse(demographics=MUSE_DEMOGRAPHICS)).detail


# --- HL7 aECG --------------------------------------------------------------------------------------------------------


def test_the_samples_of_an_annotated_ecg_are_kept(read):
    record = read(aecg(aecg_series(aecg_set())))
    assert (record.leads, record.sample_rate_hz, record.microvolts_per_step) == (LEADS, 100.0, 5.0)
    np.testing.assert_array_equal(steps(record), counts(LEADS, 1000))


def test_a_representative_beat_is_not_the_rhythm_wherever_it_stands(read):
    beat = aecg_set(samples=1200, first=9, head="0", relative=True)
    derived = read(aecg(aecg_series(aecg_set(), beat=beat)))
    first = read(aecg(aecg_series(beat, code="REPRESENTATIVE_BEAT"), aecg_series(aecg_set())))
    for record in (derived, first):
        np.testing.assert_array_equal(steps(record), counts(LEADS, 1000))
        assert record.recorded_at == datetime(2020, 7, 4, 13, 5, 9, tzinfo=UTC)


def test_a_short_series_before_the_long_one_does_not_stand_for_the_file(read):
    record = read(aecg(aecg_series(aecg_set(samples=250)), aecg_series(aecg_set(first=40, head="20200704130530"))))
    np.testing.assert_array_equal(steps(record), counts(LEADS, 1000, first=40))
    assert record.recorded_at == datetime(2020, 7, 4, 13, 5, 30, tzinfo=UTC)


def test_sets_of_leads_that_begin_one_after_the_other_are_refused(refused):
    groups = [("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6")]
    heads = ["20200704130509.000", "20200704130511.500", "20200704130514.000", "20200704130516.500"]
    sets = [aecg_set(leads=leads, samples=250, head=head) for leads, head in zip(groups, heads, strict=True)]
    error = refused(aecg(aecg_series(*sets)))
    assert error.wire_code in {"too_short", "not_simultaneous"}
    assert "V4, V5, V6 for 2.5 s at 100 Hz, 7.5 s later" in error.detail


def test_sets_of_leads_are_put_on_one_time_line(read):
    late = aecg_set(leads=CHEST, samples=1100, head="20200704130510.250", first=125)
    record = read(aecg(aecg_series(aecg_set(leads=LIMB, samples=1300), late)))
    np.testing.assert_array_equal(steps(record), counts(LEADS, 1100, first=125))
    assert record.recorded_at == datetime(2020, 7, 4, 13, 5, 10, 250_000, tzinfo=UTC)
    assert codes(record) == ["leads_aligned"]


def test_relative_times_count_from_the_series(read):
    sets = [
        aecg_set(leads=LIMB, samples=1300, relative=True, head="0.5"),
        aecg_set(leads=CHEST, samples=1200, relative=True, head="1.5", first=100),
    ]
    record = read(aecg(aecg_series(*sets, low="20200101000000")))
    np.testing.assert_array_equal(steps(record), counts(LEADS, 1200, first=100))
    assert record.recorded_at == datetime(2020, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)


def test_a_set_whose_time_is_not_known_is_not_put_beside_one_whose_time_is(refused):
    sets = [aecg_set(leads=LIMB), aecg_set(leads=CHEST, relative=True)]
    assert "at a time that the file does not state" in refused(aecg(aecg_series(*sets), effective="")).detail


@pytest.mark.parametrize("step", [("0.01", "s"), ("10", "ms"), ("10000", "us"), ("10000", "µs")])
def test_an_increment_is_in_seconds_milliseconds_or_microseconds(read, step):
    assert read(aecg(aecg_series(aecg_set(step=step)))).sample_rate_hz == 100.0


@pytest.mark.parametrize(
    "step", [("0.01", ""), ("0.01", "h"), ("0", "s"), ("", "s"), ("-1", "s"), ("x", "s"), ("1e-300", "s")]
)
def test_an_increment_without_a_known_unit_is_refused(refused, step):
    assert "no increment of time that is known" in refused(aecg(aecg_series(aecg_set(step=step)))).detail


@pytest.mark.parametrize(
    ("lead", "expected"),
    [
        ({"scale": ("0.005", "mV")}, 0.005),
        ({"scale": ("5000", "nV")}, 0.005),
        ({"scale": ("2.5", "uV")}, 0.0025),
    ],
)
def test_scales_of_leads_are_read_in_their_units(read, lead, expected):
    record = read(aecg(aecg_series(aecg_set(**lead))))
    np.testing.assert_allclose(millivolts(record), counts(LEADS, 1000) * expected, atol=1e-9)


def test_an_origin_in_another_unit_than_the_scale_is_added(read):
    record = read(aecg(aecg_series(aecg_set(scale=("5", "uV"), origin=("0.1", "mV")))))
    np.testing.assert_allclose(millivolts(record), counts(LEADS, 1000) * 0.005 + 0.1, atol=0.0005)


@pytest.mark.parametrize(
    ("lead", "words"),
    [
        ({"scale": None}, "without a scale"),
        ({"scale": ("5", "")}, "without a unit"),
        ({"scale": ("5", "1")}, "in '1', which is no unit of voltage"),
        ({"scale": ("5", "mmHg")}, "in 'mmHg', which is no unit of voltage"),
        ({"origin": ("3", "counts")}, "from an origin in 'counts', which is no unit of voltage"),
        ({"digits": "1 2 three"}, "with 'three' among its samples"),
        ({"digits": ""}, "without samples"),
    ],
)
def test_raw_samples_and_unknown_units_of_an_annotated_ecg_are_refused(refused, lead, words):
    assert words in refused(aecg(aecg_series(aecg_set(**lead)))).detail


def test_a_sequence_that_would_fill_the_memory_is_refused_and_the_numbers_behind_a_sierras_samples_are_not_read(
    read, refused
):
    endless = aecg(aecg_series(aecg_set(leads=["I"], digits="1 " * (MAX_DIGITS + 1))))
    assert "with more than 1,000,000 samples" in refused(endless).detail
    plain = sierra(plain=True)
    longer = plain.replace(b"</parsedwaveforms>", b" 9" * 100 + b" no number</parsedwaveforms>")
    assert longer != plain
    assert read(longer).samples == read(plain).samples


def test_missing_digits_are_missing_samples(read):
    row = counts(["V1"], 1000)[0].astype(str)
    row[[500, 501]] = ["NaN", "UNK"]
    sets = aecg_set(leads=[lead for lead in LEADS if lead != "V1"]), aecg_set(leads=["V1"], digits=" ".join(row))
    record = read(aecg(aecg_series(*sets)))
    assert np.flatnonzero(np.isnan(millivolts(record)[record.leads.index("V1")])).tolist() == [500, 501]


def test_sequences_of_different_lengths_give_what_they_share(read):
    record = read(aecg(aecg_series(aecg_set(leads=LIMB, samples=1000), aecg_set(leads=CHEST, samples=950))))
    assert record.n_samples == 950


def test_a_time_with_a_zone_keeps_it_and_one_without_gets_the_callers(read):
    zoned = aecg(aecg_series(aecg_set(head="20200704130509.000+0200")))
    assert read(zoned).recorded_at == datetime(2020, 7, 4, 11, 5, 9, tzinfo=UTC)
    plain = aecg(aecg_series(aecg_set()))
    assert read(plain, ZoneInfo("Asia/Tokyo")).recorded_at == datetime(2020, 7, 4, 4, 5, 9, tzinfo=UTC)


def test_times_with_and_without_a_zone_in_one_file_are_compared(read):
    sets = [aecg_set(leads=LIMB, head="20200704130509+0200"), aecg_set(leads=CHEST, head="20200704130509")]
    assert read(aecg(aecg_series(*sets))).recorded_at == datetime(2020, 7, 4, 11, 5, 9, tzinfo=UTC)


@pytest.mark.parametrize("effective", ["", '<low value="2020"/>', '<low nullFlavor="UNK"/>', '<low value="20201399"/>'])
def test_a_time_that_is_not_stated_to_the_minute_is_not_known(read, effective):
    assert read(aecg(aecg_series(aecg_set(relative=True)), effective=effective)).recorded_at is None


@pytest.mark.parametrize(
    ("before", "age", "sex"),
    [
        (AECG_SUBJECT + AECG_AGE.format(46, "a"), 46, "female"),
        (AECG_AGE.format(18, "mo"), 1.5, None),
        (AECG_AGE.format(46, ""), None, None),
        (AECG_AGE.format("", "a"), None, None),
    ],
)
def test_an_age_of_an_annotated_ecg_has_a_unit_or_is_not_known(read, before, age, sex):
    record = read(aecg(aecg_series(aecg_set()), before=before))
    assert (record.age_years, record.sex) == (age, sex)


STATEMENT = (
    '<subjectOf><annotationSet><component><annotation><code code="MDC_ECG_INTERPRETATION_STATEMENT"/><value>{}</value>'
    "</annotation></component></annotationSet></subjectOf>"
)
BEAT = (
    '<subjectOf><annotationSet><annotation><code code="MDC_ECG_BEAT"/><value code="{}"/></annotation></annotationSet>'
    "</subjectOf>"
)


@pytest.mark.parametrize(
    ("annotations", "paced"),
    [
        (STATEMENT.format("Atrial-paced rhythm"), True),
        (STATEMENT.format("not paced"), False),
        (BEAT.format("MDC_ECG_BEAT_PACED_FUS"), True),
        (BEAT.format("MDC_ECG_BEAT_NORMAL"), None),
    ],
)
def test_pacing_in_an_annotated_ecg_is_known_by_beats_and_statements(read, annotations, paced):
    assert read(aecg(aecg_series(aecg_set(), annotations=annotations))).paced is paced


def test_an_annotated_ecg_without_waveforms_says_so(refused):
    assert "no sequences of samples" in refused(aecg(aecg_series())).detail


# --- Philips Sierra --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"packed": True}, {"plain": True}, {"version": "1.03"}, {"version": "1.04.02"}])
def test_sierra_gives_the_same_samples_however_they_are_stored(read, fields):
    record = read(sierra(**fields))
    np.testing.assert_array_equal(steps(record), counts(LEADS, 1000))
    assert (record.leads, record.sample_rate_hz, record.microvolts_per_step) == (LEADS, 100.0, 5.0)
    assert (record.age_years, record.sex, record.paced) == (61, "female", None)
    assert record.recorded_at == datetime(2020, 7, 4, 13, 5, 9, tzinfo=UTC)


def test_the_resolution_of_sierra_is_taken_from_the_file(read, refused):
    assert read(sierra(step="2.5")).microvolts_per_step == 2.5
    assert "without a resolution" in refused(sierra(step="")).detail


def test_the_count_of_zero_volts_is_subtracted(read):
    record = read(sierra(attributes='signaloffset="100"'))
    np.testing.assert_array_equal(steps(record), counts(LEADS, 1000) - 100)


def test_leads_of_sierra_are_known_by_their_labels_and_not_by_their_places(read):
    order = tuple(reversed(LEADS))
    record = read(sierra(leads=order))
    assert record.leads == order
    np.testing.assert_array_equal(steps(record), counts(order, 1000))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"data": "AAA*"}, "its Base64 is damaged"),
        ({"data": "AAAA"}, "holds 1 samples, where 12 leads of 1000 samples are announced"),
        ({"packed": True, "data": "AAAA"}, "its packed samples end in lead 1 of 12"),
        ({"plain": True, "data": "1 2 x"}, "samples that are no whole numbers"),
        ({"attributes": 'bitspersample="12"'}, "samples of 12 bits"),
        ({"version": "2.0"}, "is PhilipsECG 2.0: this reader knows versions 1.03 and 1.04"),
        ({"kind": "Other"}, "is Other 1.04"),
        ({"attributes": 'samplespersecond="1e9"'}, "how many samples a lead has"),
    ],
)
def test_a_sierra_file_that_is_damaged_or_of_another_kind_is_refused_by_name(refused, fields, words):
    assert words in refused(sierra(**fields)).detail


def test_a_chunk_that_would_fill_the_memory_is_refused_unpacked(refused):
    chunk = (200_000).to_bytes(4, "little") + bytes(4) + b"\xff" * 200_000
    content = sierra(packed=True, data=base64.b64encode(chunk * 12).decode())
    assert "more than its 1000 samples need" in refused(content).detail


def test_a_chunk_whose_codes_stand_for_ever_longer_rows_is_refused_before_its_differences_are_summed(refused):
    codes = [0, *range(256, 1023), *([1022] * 2000)]
    bits = "".join(f"{code:010b}" for code in codes).ljust(10 * len(codes) + 7 & ~7, "0")
    body = int(bits, 2).to_bytes(len(bits) // 8, "big")
    chunk = len(body).to_bytes(4, "little") + bytes(4) + body
    content = sierra(packed=True, data=base64.b64encode(chunk * 12).decode())
    assert "lead 1 unpacks to 1831296 bytes, more than its 1000 samples need" in refused(content).detail


@pytest.mark.parametrize(
    ("fields", "paced"),
    [
        ({"pace": "Yes"}, True),
        ({"pace": "NotPaced"}, False),
        ({"pace": "No", "extra": SIERRA_STATEMENT}, False),
        ({"extra": SIERRA_STATEMENT}, True),
        ({"extra": SIERRA_STATEMENT.replace("Atrial-paced", "Not paced")}, False),
        ({}, None),
    ],
)
def test_pacing_in_a_sierra_file_is_what_the_patients_data_say_or_else_the_statements(read, fields, paced):
    assert read(sierra(**fields)).paced is paced


@pytest.mark.parametrize(("age", "years"), [("", None), ("<months>18</months>", 1.5), ("<years>---</years>", None)])
def test_the_devices_default_age_is_nobodys(read, age, years):
    assert read(sierra(age=age)).age_years == years


# --- XML -------------------------------------------------------------------------------------------------------------

UMLAUT = MUSE_DEMOGRAPHICS.replace("Roe", "Müller")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "iso-8859-1", "windows-1252", "iso-8859-15", "macroman", "utf-16", "utf-8-sig"]
)
def test_any_encoding_that_is_named_or_marked_is_read(read, encoding):
    record = read(muse(muse_waveform(), demographics=UMLAUT, encoding=encoding))
    np.testing.assert_array_equal(steps(record), counts(EIGHT, 2500))
    assert record.age_years == 61


def test_a_content_that_is_nearly_all_spaces_or_attributes_is_answered_at_once():
    spaces = b"<restingecg>" + b" " * 2_000_000 + b"</restingecg>"
    assert parse_xml(spaces, Path("x.xml"), "MUSE XML").tag == "restingecg"
    attributes = b"<restingecg " + b" ".join(b'a%d=""' % number for number in range(MAX_ATTRIBUTES + 1)) + b"/>"
    with pytest.raises(UnreadableFile, match="attributes"):
        parse_xml(attributes, Path("x.xml"), "MUSE XML")


@pytest.mark.parametrize("encoding", ["gb2312", "gb18030", "shift_jis", "euc-kr", "big5"])
def test_encodings_of_several_bytes_a_letter_are_read(read, encoding):
    assert (
        read(muse(muse_waveform(), demographics=MUSE_DEMOGRAPHICS.replace("Roe", "山"), encoding=encoding)).sex
        == "female"
    )


@pytest.mark.parametrize("stored", ["utf-16-le", "utf-16-be", "utf-8", "latin-1"])
@pytest.mark.parametrize("declared", ["utf-8", "utf-16", "UTF-16LE", "unicode", "x-unknown", "zip", "unicode_escape"])
def test_a_declaration_that_is_not_so_does_not_cost_the_ecg(read, stored, declared):
    text = muse(muse_waveform(), demographics=UMLAUT).decode().replace('encoding="utf-8"', f'encoding="{declared}"')
    assert read(text.encode(stored)).n_samples == 2500


def test_white_space_before_the_declaration_does_no_harm(read):
    assert read(b"\r\n  " + muse(muse_waveform())).n_samples == 2500


BOMB = '<!DOCTYPE RestingECG [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE RestingECG [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
PARAMETER = '<!DOCTYPE RestingECG [<!ENTITY % a SYSTEM "http://127.0.0.1:9/x">%a;]>'


@pytest.mark.parametrize("prolog", [BOMB, OUTSIDE, PARAMETER])
@pytest.mark.parametrize("make", [muse, aecg, sierra])
def test_entity_bombs_and_entities_from_outside_are_refused_by_name(refused, make, prolog):
    content = {muse: muse(muse_waveform()), aecg: aecg(aecg_series(aecg_set())), sierra: sierra()}[make]
    head, _, body = content.partition(b"?>")
    body = body.replace(b'<!DOCTYPE RestingECG SYSTEM "restecg.dtd">', b"")
    assert "declares XML entities" in refused(head + b"?>" + prolog.encode() + body).detail


def test_a_document_type_alone_is_no_attack(read):
    assert (
        read(muse(muse_waveform(), prolog='<!DOCTYPE RestingECG SYSTEM "http://127.0.0.1:9/x.dtd">')).n_samples == 2500
    )


@pytest.mark.parametrize("make", [lambda: muse(muse_waveform()), lambda: aecg(aecg_series(aecg_set())), sierra])
def test_xml_that_is_cut_short_is_refused_in_words(refused, make):
    content = make()
    for length in (400, len(content) // 2, len(content) - 5):
        assert "is not whole XML" in refused(content[:length]).detail


def test_more_elements_than_an_ecg_has_are_refused_before_they_are_made(refused):
    assert "400,000 elements" in refused(muse("<a/>" * 900_000)).detail


def test_elements_in_elements_without_end_are_refused(refused):
    assert "more than 100 deep" in refused(muse("<a>" * 50_000 + "</a>" * 50_000)).detail


@pytest.mark.parametrize("name", ["a.txt", "a", "a.dcm"])
def test_content_decides_and_not_the_files_ending(read, name):
    assert read(sierra(), name=name).n_samples == 1000


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"<?xml version='1.0'?><!-- <RestingECG> --><AnnotatedECG/>", "HL7 aECG"),
        (b"<a:AnnotatedECG xmlns:a='urn:hl7-org:v3'/>", "HL7 aECG"),
        (b"<RestingECG/>", "GE MUSE XML"),
        ("<restingecgdata/>".encode("utf-16"), "Philips Sierra XML"),
        (b"<html><RestingECG/></html>", None),
        (b"<!DOCTYPE RestingECG [", None),
        (b"", None),
    ],
)
def test_a_format_is_known_by_its_root_element(content, name):
    known = format_of(content[:HEAD_BYTES])
    assert (known.name if known else None) == name


def xml_files():
    folders = (ECGS / "formats", ECGS / "more" / "formats")
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.xml"))]


@needs_real_ecgs
@pytest.mark.parametrize("path", xml_files(), ids=lambda path: path.stem)
def test_every_real_file_in_xml_has_the_voltages_that_ecgdatakit_reads(path):
    from ecgdatakit import FileParser

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        theirs = FileParser().parse(path)
    record = read_ecg(path, UTC)
    expected = {lead.label: lead.samples * {"uV": 1e-3, "mV": 1.0}[lead.units] for lead in theirs.leads}
    assert list(record.leads) == list(expected)
    for lead, row in zip(record.leads, millivolts(record), strict=True):
        np.testing.assert_allclose(row, expected[lead], atol=1e-9)
    when = theirs.recording.date
    assert record.recorded_at == (when.replace(tzinfo=UTC) if when else None)
    assert isinstance(take_in([record], 1).outcomes[0], Quality)


MADE = list(made_xml.made())


@given(st.sampled_from(MADE), st.data())
@settings(max_examples=300)
def test_whatever_is_changed_in_a_file_is_read_or_refused_in_our_words(content, data):
    place = data.draw(st.integers(0, len(content)))
    cut = data.draw(st.integers(0, 40))
    put = data.draw(
        st.one_of(st.binary(max_size=20), st.sampled_from([b"NaN", b"-1", b"1e999", b"<", b"0", b"99999999"]))
    )
    changed = content[:place] + put + content[place + cut :]
    known = format_of(changed[:HEAD_BYTES])
    if known is None:
        return
    assert examine(Target("xml", lambda content: take(known, content), (UnreadableFile,), ()), changed) is None


def take(known, content):
    record = assemble(known.read(content, ECGS / "x.xml"), ECGS / "x.xml")
    json.dumps(msgspec.to_builtins(record))
    take_in([record], 1)


@pytest.mark.parametrize("root", ["RestingECG", "AnnotatedECG", "restingecgdata"])
def test_xml_of_tens_of_megabytes_is_refused_before_it_is_parsed(read, root):
    content = f"<{root}><a>{'1 ' * (MAX_XML_BYTES // 2)}</a></{root}>".encode()

    with pytest.raises(UnreadableFile, match="has more than 16 MiB"):
        read(content)

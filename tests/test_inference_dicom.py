"""DICOM waveforms of every kind are read as they were meant: all groups, codes, marks, offsets, byte orders."""

import tracemalloc
import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from dicom_files import CODES, coded, definition, dicom, group, meta_end, steps
from hypothesis import given, settings
from hypothesis import strategies as st
from needed import ECGS, needs_real_ecgs
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    AmbulatoryECGWaveformStorage,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GeneralECGWaveformStorage,
    HemodynamicWaveformStorage,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    TwelveLeadECGWaveformStorage,
)

from inference.reading.assemble import assemble
from inference.reading.dicom import read_dicom
from inference.reading.dicom_content import MAX_ITEMS, is_dicom
from inference.reading.read_ecg import read_ecg
from schemas.codec import encode_ecg
from schemas.ecg_record import LEADS, MISSING_SAMPLE
from schemas.errors import UnreadableFile

PATH = Path("ward/IM000001")
STEPS = steps()


def record_of(content, path=PATH):
    assert is_dicom(content[:4096])
    return assemble(read_dicom(content, path), path, UTC)


def steps_of(record):
    return np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)


def codes(record):
    return [remark.code for remark in record.remarks]


def refused(content):
    with pytest.raises(UnreadableFile) as error:
        record_of(content)
    assert "\n" not in error.value.detail
    assert str(PATH) in error.value.detail
    return error.value.detail


def with_channel(place, **fields):
    """Return a group in which one channel is described otherwise."""
    return group(STEPS, channels=[definition(lead, **(fields if lead == LEADS[place] else {})) for lead in LEADS])


def test_a_plain_ecg_keeps_its_samples_its_step_its_time_and_its_leads():
    record = record_of(dicom(group(STEPS)))
    np.testing.assert_array_equal(steps_of(record), STEPS)
    assert (record.leads, record.microvolts_per_step, record.sample_rate_hz) == (LEADS, 5.0, 250.0)
    assert (record.recorded_at, record.sex) == (datetime(2026, 1, 1, 10, 10, 10, tzinfo=UTC), "female")
    assert codes(record) == []


def test_no_name_number_or_birth_date_is_read():
    record = record_of(dicom(group(STEPS), PatientAge="061Y"))
    value = encode_ecg(record)
    assert not any(word in value for word in (b"Roe", b"4711", b"1965"))
    assert (record.patient_id, record.age_years) == (None, 61)


@pytest.mark.parametrize(
    "sop_class",
    [
        TwelveLeadECGWaveformStorage,
        GeneralECGWaveformStorage,
        AmbulatoryECGWaveformStorage,
        HemodynamicWaveformStorage,
    ],
)
def test_any_class_of_waveform_may_hold_an_ecg(sop_class):
    np.testing.assert_array_equal(steps_of(record_of(dicom(group(STEPS), sop_class=sop_class))), STEPS)


@pytest.mark.parametrize(
    ("syntax", "order", "preamble"),
    [
        (ImplicitVRLittleEndian, "<", True),
        (ImplicitVRLittleEndian, "<", False),
        (ExplicitVRLittleEndian, "<", True),
        (ExplicitVRLittleEndian, "<", False),
        (ExplicitVRBigEndian, ">", True),
        (ExplicitVRBigEndian, ">", False),
        (DeflatedExplicitVRLittleEndian, "<", True),  # nothing in a bare deflated data set says that it is one
    ],
)
def test_each_transfer_syntax_is_read_and_a_bare_data_set_is_recognised(syntax, order, preamble):
    content = dicom(group(STEPS, order=order), syntax=syntax, preamble=preamble)
    np.testing.assert_array_equal(steps_of(record_of(content)), STEPS)


def test_meta_information_without_a_preamble_is_read_too():
    np.testing.assert_array_equal(steps_of(record_of(dicom(group(STEPS))[132:])), STEPS)


def test_a_number_of_0_samples_means_all_that_are_there():
    np.testing.assert_array_equal(steps_of(record_of(dicom(group(STEPS, NumberOfWaveformSamples=0)))), STEPS)


def test_what_begins_otherwise_is_no_dicom():
    for head in (b"", b"\x08\0", b"\x08\0" * 300, bytes(range(256)) * 16, b"<?xml version='1.0'?>" * 9, b"0" * 256):
        assert not is_dicom(head)


@pytest.mark.parametrize(
    ("interpretation", "low", "high"), [("SB", -128, 128), ("UB", 0, 256), ("US", 0, 65536), ("SL", -9999, 9999)]
)
@pytest.mark.parametrize(("syntax", "order"), [(ExplicitVRLittleEndian, "<"), (ExplicitVRBigEndian, ">")])
def test_each_interpretation_of_samples_is_read(interpretation, low, high, syntax, order):
    own = np.random.default_rng(0).integers(low, high, (12, 2500))
    own[:, :2] = [low + 1, high - 1]
    record = record_of(dicom(group(own, interpretation=interpretation, order=order), syntax=syntax))
    found = steps_of(record) * record.microvolts_per_step
    np.testing.assert_allclose(found, own * 5.0, atol=record.microvolts_per_step / 2 + 1e-6)


def test_bytes_in_words_of_big_endian_are_put_in_order():
    own = steps(leads=12) // 20
    item = group(own, interpretation="SB")
    exchanged = np.frombuffer(item.WaveformData, "<u2").astype(">u2").tobytes()
    item.add_new(0x54001010, "OW", exchanged)
    record = record_of(dicom(item, syntax=ExplicitVRBigEndian))
    np.testing.assert_array_equal(steps_of(record), own)


@pytest.mark.parametrize("interpretation", ["MB", "AB"])
def test_companded_sound_is_refused_by_name_and_leaves_another_group_alone(interpretation):
    sound = group(abs(STEPS) % 256, interpretation=interpretation)
    assert f"multiplex group 1 has samples of 8 bits called '{interpretation}'" in refused(dicom(sound))
    assert codes(record_of(dicom(sound, group(STEPS)))) == ["part_unread"]


def test_negative_numbers_of_fewer_bits_than_are_allocated_are_known():
    stored = np.where(STEPS < 0, STEPS + 4096, STEPS)
    item = group(stored, channels=[definition(lead, bits=12) for lead in LEADS])
    np.testing.assert_array_equal(steps_of(record_of(dicom(item))), STEPS)
    item = group(STEPS, channels=[definition(lead, bits=12) for lead in LEADS])
    np.testing.assert_array_equal(steps_of(record_of(dicom(item))), STEPS)


def test_sensitivity_correction_and_baseline_make_the_voltage():
    scaled = {
        "sensitivity": "0.002",
        "unit": "mV",
        "ChannelSensitivityCorrectionFactor": "1.5",
        "ChannelBaseline": "0.25",
    }
    record = record_of(dicom(with_channel(3, **scaled)))
    millivolts = steps_of(record)[3] * record.microvolts_per_step / 1e3
    np.testing.assert_allclose(millivolts, STEPS[3] * 0.003 + 0.25, atol=0.0011)


@pytest.mark.parametrize(
    ("unit", "factor"), [("uV", 1), ("mV", 1e3), ("V", 1e6), ("nV", 1e-3), ("microvolt", 1), ("millivolt", 1e3)]
)
def test_units_of_voltage_are_known(unit, factor):
    item = group(STEPS, channels=[definition(lead, unit=unit, sensitivity=f"{5 / factor:g}") for lead in LEADS])
    assert record_of(dicom(item)).microvolts_per_step == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"unit": "mm[Hg]"}, "V2 in 'mm[Hg]'"),
        ({"unit": ""}, "V2 without a unit"),
        ({"sensitivity": ""}, "V2 without a sensitivity"),
        ({"sensitivity": "0"}, "V2 without a sensitivity"),
    ],
)
def test_samples_that_are_no_voltages_are_refused_with_the_reason(fields, said):
    assert said in refused(dicom(with_channel(LEADS.index("V2"), **fields)))


def test_pressures_beside_the_ecg_are_passed_over():
    pressures = group(steps(leads=2), channels=[definition("P1", "mm[Hg]", code="", bits=16) for _ in range(2)])
    assert record_of(dicom(pressures, group(STEPS), sop_class=HemodynamicWaveformStorage)).leads == LEADS


@pytest.mark.parametrize("scheme", ["2:{}", "5.6.3-9-{}"])
def test_the_code_of_a_lead_counts_before_its_words_and_its_label(scheme):
    channels = [
        definition(lead, code=scheme.format(CODES[lead]), meaning="Lead II", ChannelLabel="V1") for lead in LEADS
    ]
    record = record_of(dicom(group(STEPS, channels=channels)))
    assert record.leads == LEADS
    assert set(codes(record)) == {"lead_called_otherwise"}


def test_a_code_of_another_lead_is_not_overruled_by_its_words():
    channels = [definition(lead, code="2:12" if lead == "V4" else None, meaning=f"Lead {lead}") for lead in LEADS]
    assert "lacks V4" in refused(dicom(group(STEPS, channels=channels)))


def test_without_a_code_the_label_names_the_lead():
    assert record_of(dicom(group(STEPS, channels=[definition(lead, code="") for lead in LEADS]))).leads == LEADS
    vendor = [definition(lead, code="99X", meaning=f"ECG Lead {lead}") for lead in LEADS]
    assert record_of(dicom(group(STEPS, channels=vendor))).leads == LEADS


def test_a_median_beat_is_passed_over_wherever_it_stands_and_however_it_is_labelled():
    for fields in ({}, {"WaveformOriginality": "DERIVED"}, {"MultiplexGroupLabel": "MEDIAN BEAT"}):
        median = group(steps(1.2), **fields)
        for groups in ((median, group(STEPS)), (group(STEPS), median)):
            np.testing.assert_array_equal(steps_of(record_of(dicom(*groups))), STEPS)


def test_limb_and_chest_leads_in_two_groups_are_one_ecg():
    record = record_of(dicom(group(STEPS[:6], LEADS[:6]), group(STEPS[6:], LEADS[6:])))
    np.testing.assert_array_equal(steps_of(record), STEPS)


def test_groups_that_began_at_different_times_share_what_they_share():
    late = group(STEPS[6:, :2400], LEADS[6:], MultiplexGroupTimeOffset="400")
    record = record_of(dicom(group(STEPS[:6], LEADS[:6]), late))
    np.testing.assert_array_equal(steps_of(record)[:6], STEPS[:6, 100:])
    assert codes(record) == ["leads_aligned"]
    assert record.recorded_at == datetime(2026, 1, 1, 10, 10, 10, 400_000, tzinfo=UTC)


def test_columns_of_two_and_a_half_seconds_are_refused_group_by_group():
    columns = [
        group(STEPS[place : place + 3, :625], LEADS[place : place + 3], MultiplexGroupTimeOffset=str(place * 2500 // 3))
        for place in range(0, 12, 3)
    ]
    detail = refused(dicom(*columns))
    assert "not recorded at one time" in detail
    assert "multiplex group 4: V4, V5, V6 for 2.5 s at 250 Hz, 7.5 s later" in detail


@pytest.mark.parametrize(
    ("skew", "aligned"),
    [
        ({"ChannelSampleSkew": "0.4"}, False),
        ({"ChannelSampleSkew": "3"}, True),
        ({"ChannelSampleSkew": None, "ChannelTimeSkew": "0.012"}, True),
        ({"ChannelOffset": "0.012"}, True),
    ],
)
def test_the_skew_of_a_channel_moves_it_on_the_time_line(skew, aligned):
    record = record_of(dicom(with_channel(1, **skew)))
    moved = 3 * aligned
    np.testing.assert_array_equal(steps_of(record)[0], STEPS[0, moved:])
    np.testing.assert_array_equal(steps_of(record)[1], STEPS[1, : 2500 - moved])
    assert codes(record) == ["leads_aligned"] * aligned


def test_a_padding_value_is_a_missing_sample():
    own = STEPS.copy()
    own[4, 100:107] = 9999
    record = record_of(dicom(group(own, WaveformPaddingValue=np.int16(9999).tobytes())))
    expected = np.where(own == 9999, MISSING_SAMPLE, own)
    np.testing.assert_array_equal(steps_of(record), expected)


def test_a_padding_value_that_the_signal_takes_is_missing_in_long_runs_alone():
    own = STEPS.copy()
    own[own == 0] = 1
    own[4, [50, 90, 91, 500]] = 0
    own[5, 300:320] = 0
    record = record_of(dicom(group(own, WaveformPaddingValue=b"\0\0")))
    assert codes(record) == ["padding_kept"]
    missing = steps_of(record) == MISSING_SAMPLE
    assert (missing[5, 300:320].all(), missing.sum()) == (True, 20)


def test_the_lowest_code_is_missing_without_any_padding_value():
    own = STEPS.copy()
    own[4, 100:107] = -32768
    assert ((steps_of(record_of(dicom(group(own)))) == MISSING_SAMPLE) == (own == -32768)).all()


@pytest.mark.parametrize(("status", "missing"), [("DISCONNECTED", True), ("INVALID", True), ("QUESTIONABLE", False)])
def test_the_status_of_a_channel_is_kept(status, missing):
    record = record_of(dicom(with_channel(7, ChannelStatus=status)))
    assert (steps_of(record)[7] == MISSING_SAMPLE).all() == missing
    assert [remark.detail for remark in record.remarks] == [f"multiplex group 1 calls its channel V2 {status.lower()}"]


def test_data_that_end_early_are_taken_as_far_as_they_go_with_a_remark():
    item = group(STEPS)
    item.WaveformData = item.WaveformData[: 12 * 2 * 2400 + 6]
    record = record_of(dicom(item))
    np.testing.assert_array_equal(steps_of(record), STEPS[:, :2400])
    assert codes(record) == ["file_length"]


def test_a_file_that_is_cut_anywhere_is_refused_or_says_so():
    content = dicom(group(STEPS))
    for end in range(200, len(content) - 100, 997):
        outcome = read_or_refused(content[:end])
        assert isinstance(outcome, UnreadableFile) or "file_length" in codes(outcome)


def test_a_group_that_describes_fewer_channels_than_it_has_is_refused():
    item = group(STEPS, channels=[definition(lead) for lead in LEADS[:11]])
    assert "has 12 channels and describes 11" in refused(dicom(item))


@pytest.mark.parametrize(
    ("fields", "instant"),
    [
        ({"AcquisitionDateTime": "20260101101010.25"}, datetime(2026, 1, 1, 10, 10, 10, 250_000, tzinfo=UTC)),
        ({"AcquisitionDateTime": "202601011010"}, datetime(2026, 1, 1, 10, 10, tzinfo=UTC)),
        ({"AcquisitionDateTime": "20260101101010+0530"}, datetime(2026, 1, 1, 4, 40, 10, tzinfo=UTC)),
        ({"TimezoneOffsetFromUTC": "-0500"}, datetime(2026, 1, 1, 15, 10, 10, tzinfo=UTC)),
        (
            {"AcquisitionDateTime": "", "AcquisitionDate": "20251231", "AcquisitionTime": "235959.5"},
            datetime(2025, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC),
        ),
        ({"AcquisitionDateTime": "20260101"}, None),
        ({"AcquisitionDateTime": "20261301101010"}, None),
        ({"AcquisitionDateTime": ""}, None),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DT")
def test_the_time_of_acquisition_is_when_it_was_recorded(fields, instant):
    assert record_of(dicom(group(STEPS), **fields)).recorded_at == instant


def test_a_file_that_ends_before_its_samples_is_called_cut_short():
    content = dicom(group(STEPS))
    assert "may be cut short, copy it again" in refused(content[: content.index(b"\x00\x54\x04\x10")])


@pytest.mark.parametrize(
    ("written", "years"), [("042Y", 42), ("018M", 1.5), ("026W", 26 * 7 / 365.25), ("", None), ("999Y", None)]
)
def test_an_age_is_read_in_its_unit(written, years):
    assert record_of(dicom(group(STEPS), PatientAge=written)).age_years == (years and pytest.approx(years))


@pytest.mark.parametrize(
    ("code", "meaning", "paced"),
    [
        ("10370003", "Rhythm from artificial pacing", True),
        ("2:9999", "MDC_ECG_BEAT_V_PACED", True),
        ("P", "Pacemaker spike", True),
        ("P", "Pacemaker", True),
        ("P", "No pacemaker", False),
        ("P", "Pacemaker: no", False),
        ("P", "Pacing status unknown", None),
        ("P", "No ST elevation, ventricular paced rhythm", True),
        ("441509002", "Cardiac pacemaker in situ", True),
        ("5.13.5-7", "PR Interval", None),
    ],
)
def test_pacing_is_known_from_coded_annotations(code, meaning, paced):
    annotation = coded("x")
    annotation.ConceptNameCodeSequence = Sequence([coded(code, "SCT", meaning)])
    assert record_of(dicom(group(STEPS), WaveformAnnotationSequence=Sequence([annotation]))).paced is paced


@pytest.mark.parametrize(("answer", "paced"), [("No", False), ("Yes", True), ("Unknown", None)])
def test_a_question_about_a_pacemaker_is_not_taken_for_its_answer(answer, paced):
    annotation = Dataset()
    annotation.ConceptNameCodeSequence = Sequence([coded("Q", "99X", "Pacemaker")])
    annotation.ConceptCodeSequence = Sequence([coded("A", "99X", answer)])
    assert record_of(dicom(group(STEPS), WaveformAnnotationSequence=Sequence([annotation]))).paced is paced


@pytest.mark.parametrize(
    ("text", "paced"), [("Ventricular paced rhythm", True), ("Rhythm is not paced", False), ("Sinus rhythm", None)]
)
def test_pacing_is_known_from_the_text_of_an_interpretation(text, paced):
    annotation = Dataset()
    annotation.UnformattedTextValue = text
    assert record_of(dicom(group(STEPS), WaveformAnnotationSequence=Sequence([annotation]))).paced is paced


@pytest.mark.parametrize(
    ("sop_class", "name"),
    [
        (EncapsulatedPDFStorage, "Encapsulated PDF Storage"),
        (ComputedRadiographyImageStorage, "Computed Radiography Image Storage"),
        (MediaStorageDirectoryStorage, "Media Storage Directory Storage"),
    ],
)
def test_what_is_no_waveform_is_called_by_its_name(sop_class, name):
    assert f"is DICOM ({name})" in refused(dicom(sop_class=sop_class))
    large = dicom(sop_class=sop_class, EncapsulatedDocument=b"%PDF" * 2**21)
    assert f"is DICOM ({name})" in refused(large)


def test_a_waveform_class_without_a_waveform_says_so():
    assert "12-lead ECG Waveform Storage), but holds no waveform" in refused(dicom())


def test_what_pydicom_warns_of_is_a_remark():
    claims_implicit = dicom(group(STEPS)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0", 1)
    record = record_of(claims_implicit)
    assert codes(record) == ["library_warning"]
    assert "explicit VR" in record.remarks[0].detail


def test_a_value_that_is_no_number_is_absent_and_nothing_of_a_broken_file_is_logged(caplog):
    content = (
        dicom(group(STEPS), PatientAge="042Y").replace(b"042Y", b"Roe^").replace(b"DS\x02\x005 ", b"DS\x02\x005x", 1)
    )
    assert "I without a sensitivity" in refused(content)
    end = meta_end(content)
    swallowing = content[end:].replace(b"UI\x1e\x00", b"UI\xff\x08", 1)
    assert swallowing != content[end:]
    with caplog.at_level("DEBUG"):
        detail = refused(content[:end] + swallowing)
    assert "of an unknown class" in detail
    assert "Roe" not in caplog.text + detail


def test_a_file_of_countless_items_is_refused_before_an_object_is_made_of_each():
    items = b"\x00\x54\x00\x01\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0" * (MAX_ITEMS + 1)
    head = dicom(group(STEPS), syntax=ImplicitVRLittleEndian)
    tracemalloc.start()
    assert "items of sequences" in refused(head[: meta_end(head)] + items)
    assert tracemalloc.get_traced_memory()[1] < 16e6
    tracemalloc.stop()


def test_a_deflated_file_is_inflated_within_a_bound():
    import zlib

    content = dicom(group(STEPS), syntax=DeflatedExplicitVRLittleEndian)
    packer = zlib.compressobj(9, wbits=-15)
    bomb = packer.compress(bytes(2**27)) + packer.flush()
    assert "inflates to more than" in refused(content[: meta_end(content)] + bomb)
    assert "cannot be inflated" in refused(content[: meta_end(content)] + b"\xff" * 99)


def test_items_within_items_beyond_all_bounds_are_a_broken_structure():
    nested = (b"\x00\x54\x00\x01\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 3000
    head = dicom(group(STEPS), syntax=ImplicitVRLittleEndian)
    assert "structure is broken" in refused(head[: meta_end(head)] + nested)


SMALL = [
    dicom(group(steps(9, 100), rate="100"), syntax=syntax)
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
]


@settings(max_examples=300)
@given(
    content=st.sampled_from(SMALL),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=8)), max_size=8),
    end=st.integers(0, 40_000),
)
def test_mutated_files_are_read_or_refused_in_a_sentence(content, changes, end):
    mutated = bytearray(content)
    for place, new in changes:
        mutated[place : place + len(new)] = new
    read_or_refused(bytes(mutated[:end]))


@settings(max_examples=200)
@given(st.binary(max_size=2000))
def test_any_bytes_after_the_mark_are_read_or_refused_in_a_sentence(content):
    read_or_refused(b"\0" * 128 + b"DICM" + content)


def read_or_refused(content):
    is_dicom(content[:4096])
    try:
        return assemble(read_dicom(content, PATH), PATH, UTC)
    except UnreadableFile as error:
        return said_in_a_sentence(error)


def said_in_a_sentence(error):
    assert str(PATH) in error.detail
    assert "\n" not in error.detail
    return error


@needs_real_ecgs
@pytest.mark.parametrize(
    "name",
    [
        "as_it_should_be.dcm",
        "median_first_unlabelled.dcm",
        "limb_and_chest_groups.dcm",
        "no_preamble.dcm",
        "../pacs_folder/DICOM/00000002.ima",
        "../pacs_folder/DICOM/IM000001",
        "../pacs_folder/DICOM/IM000003.dcm",
    ],
)
def test_each_faulty_dicom_is_ten_seconds_of_twelve_leads(name):
    record = read_ecg(ECGS / "faults" / "dicom" / name)
    assert (record.leads, record.n_samples, record.microvolts_per_step) == (LEADS, 2500, 5.0)


@needs_real_ecgs
@pytest.mark.parametrize(
    ("name", "remarks"),
    [
        ("formats/dicom_12lead_1000Hz.dcm", []),
        ("more/formats/dicom_12lead_eli250_500Hz_108annotations.dcm", ["padding_kept"]),
        ("more/formats/dicom_hemodynamic_ge_maclab_12ch_240Hz.dcm", []),
    ],
)
def test_real_files_have_the_samples_that_pydicom_reads(name, remarks):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of invalid UIDs
        found = dcmread(ECGS / name)
        integers = np.frombuffer(found.WaveformSequence[0].WaveformData, "<i2").reshape(-1, 12).T
        physical = found.waveform_array(0).T
    record = read_ecg(ECGS / name)
    np.testing.assert_array_equal(steps_of(record), integers)
    unit = {"uV": 1.0, "mV": 1e3}[
        found.WaveformSequence[0].ChannelDefinitionSequence[0].ChannelSensitivityUnitsSequence[0].CodeValue
    ]
    np.testing.assert_allclose(steps_of(record) * record.microvolts_per_step, physical * unit, rtol=1e-6)
    assert (record.leads, codes(record)) == (LEADS, remarks)

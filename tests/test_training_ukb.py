"""UK Biobank's imaging visits, written here in exactly their layout, become a paired cohort."""

import csv
import io
import os
import shutil
import zipfile

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from inference.file_account import FileAccount
from schemas.ecg_record import LEADS
from schemas.errors import InvalidSettings, UnreadableCohort, UnreadableFile
from training.cohort.cardiosoft import MAX_FILE_BYTES, read_cardiosoft
from training.cohort.layout import FOLDS, MACHINE_MEASUREMENTS
from training.cohort.ukb import import_ukb
from training.cohort.ukb_cines import MAX_MEMBER_BYTES, MAX_UNFOLDED_BYTES, fit_cine, read_four_chamber
from training.simulation.ecg import simulate_ecg
from training.simulation.physiology import draw_patient

PHENOTYPE_COLUMNS = [f"{field}-{visit}.0" for visit in (2, 3) for field in range(24100, 24182)]
CODE_COLUMNS = [f"41270-0.{place}" for place in range(4)]
COLUMNS = ["eid", "31-0.0", "21003-0.0", "21003-2.0", "21003-3.0", *PHENOTYPE_COLUMNS, *CODE_COLUMNS]

CARDIOSOFT = """<?xml version="1.0" encoding="ISO8859-1" ?>
<CardiologyXML>
  <ObservationType>RestECG</ObservationType>
  <PatientInfo><PID>{eid}</PID><Name><FamilyName>Doe</FamilyName></Name><Gender>FEMALE</Gender></PatientInfo>
  <Interpretation><Diagnosis>{lines}</Diagnosis></Interpretation>
  <RestingECGMeasurements>
    <VentricularRate units="BPM">61</VentricularRate>
    <PQInterval units="ms">158</PQInterval>
    <PDuration units="ms">112</PDuration>
    <QRSDuration units="ms">88</QRSDuration>
    <QTInterval units="ms">410</QTInterval>
    <QTCInterval units="ms">413</QTCInterval>
    <RRInterval units="ms">983</RRInterval>
    <PAxis units="degrees">45</PAxis>
    <RAxis units="degrees">-12</RAxis>
    <TAxis units="degrees"></TAxis>
    <MedianSamples>
      <SampleRate units="Hz">500</SampleRate>
      <WaveformData lead="I">1,2,3</WaveformData>
    </MedianSamples>
  </RestingECGMeasurements>
  <StripData>
    <NumberOfLeads>12</NumberOfLeads>
    <SampleRate units="Hz">500</SampleRate>
    <ChannelSampleCountTotal>{samples}</ChannelSampleCountTotal>
    <Resolution units="uVperLsb">{resolution}</Resolution>
{waves}
  </StripData>
</CardiologyXML>
"""


def steps(number=0):
    return simulate_ecg(draw_patient(6, number))


def cardiosoft(digital, *, eid=1000001, resolution=5, lines=("Normal sinus rhythm",), leads=LEADS):
    waves = "\n".join(
        f'    <WaveformData lead="{lead}">\n\t\t{",".join(map(str, row))}</WaveformData>'
        for lead, row in zip(leads, digital.tolist(), strict=True)
    )
    said = "".join(f"<DiagnosisText>{line}</DiagnosisText>" for line in lines)
    text = CARDIOSOFT.format(eid=eid, lines=said, samples=digital.shape[1], resolution=resolution, waves=waves)
    return text.encode("latin-1")


def slice_bytes(image, *, description, series, number):
    """Return one DICOM file as the scanner writes it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    made.Modality, made.SeriesDescription, made.SeriesNumber, made.InstanceNumber = "MR", description, series, number
    made.Rows, made.Columns = image.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.PixelData = image.astype("<u2").tobytes()
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def frame(number, size=(210, 208)):
    """Return an image with a bright square in its middle, whose brightness follows the frame's number."""
    image = np.full(size, 50)
    image[size[0] // 4 : 3 * size[0] // 4, size[1] // 4 : 3 * size[1] // 4] = 200 + 10 * number
    return image


def image(place, series):
    """Return a frame of a series: brighter with time in series 6, darker with time in later ones."""
    return frame(place if series <= 6 else 51 - place)


def write_scan(path, frames=50, series=((6, "CINE_segmented_LAX_4Ch"),), extra=()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.csv", "filename,patientid\n")
        archive.writestr("aa.dcm", slice_bytes(frame(0), description="CINE_segmented_LAX_2Ch", series=5, number=1))
        for number, description in series:
            for place in sorted(range(1, frames + 1), key=lambda each: (each * 7) % 51):  # not in order of time
                content = slice_bytes(image(place, number), description=description, series=number, number=place)
                archive.writestr(f"{number}-{place}.dcm", content)
        for name, content in extra:
            archive.writestr(name, content)
    return path


FOUR_CHAMBER = {"description": "CINE_segmented_LAX_4Ch", "number": 1}


class Delivery:
    """A delivery in the making; `write` puts the main table beside the bulk files."""

    def __init__(self, root):
        self.root, self.rows = root, []
        for field in ("20205", "20208"):
            (root / "bulk" / field).mkdir(parents=True)

    def add(self, eid, visit=2, *, number=0, listed=True, codes=(), scan=False, content=None, **cells):
        content = cardiosoft(steps(number), eid=eid) if content is None else content
        (self.root / "bulk" / "20205" / f"{eid}_20205_{visit}_0.xml").write_bytes(content)
        if scan:
            write_scan(self.root / "bulk" / "20208" / f"{eid}_20208_{visit}_0.zip")
        if listed:
            person = {"eid": eid, "31-0.0": 0, "21003-0.0": 50, "21003-2.0": 63, "21003-3.0": 66}
            coded = dict(zip(CODE_COLUMNS, codes, strict=False))
            self.rows.append(dict.fromkeys(COLUMNS, "") | person | coded | cells)
        return self

    def write(self):
        with (self.root / "ukb12345.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, quoting=csv.QUOTE_ALL)
            table.writeheader()
            table.writerows(self.rows)
        return self.root


@pytest.fixture
def delivery(tmp_path):
    return Delivery(tmp_path / "ukb")


def taken(delivery, tmp_path, **options):
    return import_ukb(delivery.write(), tmp_path / "cohort", **options)


def test_ecg_scan_phenotypes_and_diagnoses_of_a_visit_lie_in_one_row(delivery, tmp_path):
    values = {f"{24100 + place}-2.0": 10 + place for place in range(82)}
    delivery.add(1000001, scan=True, codes=["I420", "I501", "Z001"], **values)
    delivery.add(1000002, number=1, **{"31-0.0": 1, "24103-2.0": 55.5})
    cohort = taken(delivery, tmp_path)
    np.testing.assert_array_equal(cohort.ecgs, [steps(0), steps(1)])
    np.testing.assert_array_equal(cohort.phenotypes[0], 10 + np.arange(82))
    assert cohort.phenotypes[1, 3] == 55.5
    assert np.isnan(cohort.phenotypes[1]).sum() == 81
    np.testing.assert_array_equal(cohort.diseases, [[0, 1, 1, 0, 0], [0] * 5])
    assert cohort.subtypes.tolist() == [1, -1]
    assert cohort.cine.tolist() == [0, -1]
    assert cohort.cines.shape == (1, 50, 96, 96)
    assert (cohort.female.tolist(), cohort.age_years.tolist()) == ([1, 0], [63, 63])
    assert cohort.patient_ids.tolist() == ["1000001", "1000002"]
    assert cohort.description.source == "uk-biobank"


def test_both_visits_of_a_participant_have_their_own_values_and_one_fold(delivery, tmp_path):
    for eid in range(1000001, 1000021):
        delivery.add(eid, **{"24103-2.0": 60, "24103-3.0": 40}).add(eid, 3, listed=False)
    cohort = taken(delivery, tmp_path, folds=(0.5, 0.25))
    assert len(cohort) == 40
    assert cohort.phenotypes[:2, 3].tolist() == [60, 40]
    assert cohort.age_years[:2].tolist() == [63, 66]
    of_fold = [set(cohort.patient_ids[cohort.select(fold)].tolist()) for fold in FOLDS]
    assert all(of_fold)
    assert sum(map(len, of_fold)) == len(set.union(*of_fold)) == 20


def without(table, wanted):
    """Rewrite a main table without the columns that are not wanted."""
    with table.open(newline="") as file:
        rows = [{name: row[name] for name in row if wanted(name)} for row in csv.DictReader(file)]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return table


def test_without_a_column_of_codes_nobody_counts_as_healthy(delivery, tmp_path):
    table = delivery.add(1000001, **{"24103-2.0": 60}).write() / "ukb12345.csv"
    without(table, lambda name: not name.startswith("41270"))
    cohort = import_ukb(delivery.root, tmp_path / "cohort")
    assert np.isnan(cohort.diseases).all()
    assert cohort.phenotypes[0, 3] == 60


def test_a_table_whose_columns_are_called_otherwise_is_refused_with_what_is_wanted(delivery, tmp_path):
    table = delivery.add(1000001).write() / "ukb12345.csv"
    without(table, lambda name: not name.startswith(("41270", "24")))
    with pytest.raises(UnreadableCohort, match=r"41270-0\.0.*24100-2\.0.*eid"):
        import_ukb(delivery.root, tmp_path / "cohort")


def test_who_is_not_in_the_table_is_left_out(delivery, tmp_path):
    cohort = taken(delivery.add(1000001).add(1000002, listed=False), tmp_path)
    assert cohort.patient_ids.tolist() == ["1000001"]
    assert cohort.description.skipped == {"not_in_table": 1}


def test_a_scan_that_cannot_be_read_costs_the_scan_alone(delivery, tmp_path):
    delivery.add(1000001).add(1000002, scan=True)
    (delivery.root / "bulk" / "20208" / "1000001_20208_2_0.zip").write_bytes(b"PK torn")
    cohort = taken(delivery, tmp_path)
    assert cohort.cine.tolist() == [-1, 0]
    assert len(cohort.cines) == 1
    assert cohort.description.skipped == {"unreadable_scan": 1}


def test_an_ecg_that_cannot_be_used_is_counted_by_code(delivery, tmp_path):
    flat = steps().copy()
    flat[7] = 0
    delivery.add(1000001).add(1000002, content=cardiosoft(flat)).add(1000003, content=b"<CardiologyXML>")
    delivery.add(1000004, content=cardiosoft(steps()[:, :2500]))
    cohort = taken(delivery, tmp_path)
    assert cohort.description.skipped == {"flat_lead": 1, "too_short": 1, "unreadable_file": 1}
    assert len(cohort) == 1


def test_the_table_may_be_parquet_and_lie_elsewhere(delivery, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    delivery.add(1000001)
    table = pa.table({"eid": [1000001], "31-0.0": [1.0], "24103-2.0": [61.25], "41270-0.0": ["I10"]})
    pq.write_table(table, tmp_path / "main.parquet")
    cohort = import_ukb(delivery.root, tmp_path / "cohort", table=tmp_path / "main.parquet")
    assert (cohort.phenotypes[0, 3], cohort.female[0]) == (61.25, 0)


@pytest.mark.parametrize("tables", [0, 2])
def test_a_root_without_exactly_one_table_asks_for_it(delivery, tmp_path, tables):
    delivery.add(1000001)
    for number in range(tables):
        (delivery.root / f"{number}.csv").write_text("eid\n")
    with pytest.raises(InvalidSettings, match="--table"):
        import_ukb(delivery.root, tmp_path / "cohort")


def test_a_root_without_ecgs_and_a_table_without_participants_are_refused(delivery, tmp_path):
    with pytest.raises(InvalidSettings, match="no ECG"):
        taken(delivery, tmp_path)
    delivery.add(1000001)
    (delivery.write() / "ukb12345.csv").write_text("id,31-0.0\n1,0\n")
    with pytest.raises(UnreadableCohort, match="eid"):
        import_ukb(delivery.root, tmp_path / "cohort")


def test_cardiosoft_gives_the_strip_and_what_the_device_measured(tmp_path):
    path = tmp_path / "1000001_20205_2_0.xml"
    path.write_bytes(cardiosoft(steps(), lines=("*** Poor data", "Atrial fibrillation")))
    recorded = read_cardiosoft(path)
    assert recorded.record.samples == steps().tobytes()
    assert (recorded.record.sample_rate_hz, recorded.record.microvolts_per_step) == (500, 5)
    assert recorded.record.leads == LEADS
    assert recorded.record.patient_id is None
    known = dict(zip(MACHINE_MEASUREMENTS, (61, 158, 88, 410, 45, -12), strict=False))
    assert recorded.measurements == known
    assert recorded.atrial_fibrillation is True


def test_cardiosoft_without_an_interpretation_leaves_the_rhythm_unknown(tmp_path):
    (tmp_path / "a.xml").write_bytes(cardiosoft(steps(), lines=()))
    assert read_cardiosoft(tmp_path / "a.xml").atrial_fibrillation is None


def test_cardiosoft_leads_are_taken_by_name_and_resolution_is_heeded(delivery, tmp_path):
    order = [4, 0, 11, 5, 3, 1, 2, 9, 6, 7, 8, 10]
    content = cardiosoft(steps()[order] * 2, resolution=2.5, leads=[LEADS[row] for row in order])
    np.testing.assert_array_equal(taken(delivery.add(1000001, content=content), tmp_path).ecgs[0], steps())


LAUGHS = b'<!DOCTYPE a [<!ENTITY b "b"><!ENTITY c "&b;&b;">]><CardiologyXML>&c;</CardiologyXML>'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html/>",
        LAUGHS,
        b"x" * (MAX_FILE_BYTES + 1),
        cardiosoft(steps()).replace(b"uVperLsb", b"furlongs"),
        cardiosoft(steps()).replace(b'lead="I">\n', b'lead="I">1,two,', 1),
        cardiosoft(steps()).replace(b'lead="V6">\n', b'lead="V6">1,2,', 1),
    ],
    ids=["empty", "another", "entities", "huge", "resolution", "words", "lengths"],
)
def test_what_is_no_cardiosoft_ecg_is_refused(tmp_path, content):
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(UnreadableFile):
        read_cardiosoft(tmp_path / "a.xml")


def test_the_cine_is_in_order_of_time_and_of_the_last_complete_series(tmp_path):
    series = ((6, "CINE_segmented_LAX_4Ch"), (8, "CINE_segmented_LAX_4Ch"), (9, "CINE_segmented_LAX_3Ch"))
    cine = read_four_chamber(write_scan(tmp_path / "a.zip", series=series))
    assert (cine.shape, cine.dtype) == ((50, 96, 96), np.uint8)
    assert (np.diff(cine[2:, 48, 48].astype(int)) < 0).all()  # the first two are as bright as can be
    assert cine[:, 2, 2].max() == 0


def test_a_cine_is_the_middle_square_of_the_image():
    frames = np.zeros((50, 192, 240), np.float32)
    frames[:, :, 24:216] = 100
    assert fit_cine(frames + np.arange(50)[:, None, None]).min(axis=(1, 2))[-1] > 0
    frames[:, 48:144, 72:168] = 900
    cine = fit_cine(frames)
    assert cine[0, 26:70, 26:70].min() > 250
    assert cine[0, :20].max() < 5


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"no zip"),
        lambda path: write_scan(path, frames=49),
        lambda path: write_scan(path, series=()),
        lambda path: write_scan(path, extra=[("torn.dcm", b"not DICOM")]),
        lambda path: write_scan(path, extra=[("bomb.dcm", bytes(9 * 2**20))]),
        lambda path: write_scan(path, extra=[("nameless.dcm", slice_bytes(frame(0), **FOUR_CHAMBER, series=None))]),
    ],
    ids=["no zip", "49 frames", "no four-chamber view", "torn", "huge", "a series without a number"],
)
def test_a_zip_without_a_whole_cine_is_refused(tmp_path, write):
    write(tmp_path / "a.zip")
    with pytest.raises(UnreadableFile):
        read_four_chamber(tmp_path / "a.zip")


def test_a_scan_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UnreadableFile):
        read_four_chamber(tmp_path / "absent.zip")


def test_doubled_files_doubled_rows_and_scans_without_an_ecg_are_told(delivery, tmp_path):
    delivery.add(1000001)
    copies = delivery.root / "copies"
    copies.mkdir()
    (ecg,) = sorted(delivery.root.rglob("1000001_20205_2_0.xml"))
    shutil.copy(ecg, copies)
    (copies / "1000009_20208_2_0.zip").touch()
    delivery.rows.append(dict(delivery.rows[0]))
    account = FileAccount()
    cohort = taken(delivery, tmp_path, account=account)
    assert cohort.description.skipped == {"doubled_row": 1}
    assert account.counts().refused == {"doubled_file": 1, "doubled_row": 1}
    assert account.counts().passed_over == {"no_ecg": 1}


def test_a_zip_that_unfolds_to_gigabytes_is_refused_before_it_is_unfolded(tmp_path):
    """Each of its files is within the bound of a file."""
    path = tmp_path / "1000001_20208_2_0.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(MAX_UNFOLDED_BYTES // MAX_MEMBER_BYTES + 1):
            archive.writestr(f"{number}.dcm", bytes(MAX_MEMBER_BYTES))
    assert path.stat().st_size < 2**20

    with pytest.raises(UnreadableFile, match="unfolds to more than a scan"):
        read_four_chamber(path)


@pytest.mark.parametrize("read", [read_four_chamber, read_cardiosoft])
def test_a_pipe_in_the_place_of_a_file_hangs_no_import(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(UnreadableFile, match="a pipe"):
        read(tmp_path / "pipe")


def test_a_cardiosoft_file_of_millions_of_elements_is_refused_before_it_is_parsed(tmp_path):
    (tmp_path / "a.xml").write_bytes(b"<CardiologyXML>" + b"<a/>" * 3_000_000 + b"</CardiologyXML>")

    with pytest.raises(UnreadableFile, match="more than 400,000 elements"):
        read_cardiosoft(tmp_path / "a.xml")

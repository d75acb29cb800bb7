"""DICOM waveforms that a test makes: multiplex groups of integers, with whatever else the test says."""

import io

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage, generate_uid

from schemas.ecg_record import LEADS

CODES = dict(zip(LEADS, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), strict=True))


def coded(value, scheme="MDC", meaning=""):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def definition(lead, unit="uV", sensitivity="5", code=None, bits=16, **fields):
    """Describe one channel; `code=""` leaves the coded source out."""
    item = Dataset()
    code = f"2:{CODES[lead]}" if code is None else code
    if code:
        item.ChannelSourceSequence = Sequence([coded(code, meaning=fields.pop("meaning", f"Lead {lead}"))])
    else:
        item.ChannelLabel = lead
    if unit:
        item.ChannelSensitivityUnitsSequence = Sequence([coded(unit, "UCUM", unit)])
    if sensitivity:
        item.ChannelSensitivity, item.ChannelSensitivityCorrectionFactor, item.ChannelBaseline = sensitivity, "1", "0"
    item.ChannelSampleSkew, item.WaveformBitsStored = "0", bits
    for name, value in fields.items():
        setattr(item, name, value)
    return item


def group(steps, leads=LEADS, interpretation="SS", channels=None, order="<", rate="250", **fields):
    """Make a multiplex group of integers, (channels, samples)."""
    item = Dataset()
    size = {"S": "i", "U": "u", "M": "u", "A": "u"}[interpretation[0]] + {"S": "2", "B": "1", "L": "4"}[
        interpretation[1]
    ]
    item.WaveformOriginality = "ORIGINAL"
    item.NumberOfWaveformChannels, item.NumberOfWaveformSamples = steps.shape
    item.SamplingFrequency, item.WaveformBitsAllocated = rate, int(size[1]) * 8
    item.WaveformSampleInterpretation = interpretation
    item.ChannelDefinitionSequence = Sequence(channels or [definition(lead) for lead in leads])
    item.add_new(0x54001010, "OW" if size[1] != "1" else "OB", steps.T.astype(order + size).tobytes())
    for name, value in fields.items():
        setattr(item, name, value)
    return item


def dicom(*groups, syntax=ExplicitVRLittleEndian, sop_class=TwelveLeadECGWaveformStorage, preamble=True, **fields):
    """Return the bytes of a file of multiplex groups."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    found = Dataset()
    found.file_meta = meta
    found.SOPClassUID, found.SOPInstanceUID, found.Modality = sop_class, meta.MediaStorageSOPInstanceUID, "ECG"
    found.AcquisitionDateTime, found.PatientSex = "20260101101010", "F"
    found.PatientName, found.PatientID, found.PatientBirthDate = "Roe^Jane", "4711", "19651230"
    for name, value in fields.items():
        setattr(found, name, value)
    if groups:
        found.WaveformSequence = Sequence(groups)
    return written(found) if preamble else written(found)[meta_end(written(found)) :]


def written(found):
    buffer = io.BytesIO()
    dcmwrite(buffer, found, enforce_file_format=True)
    return buffer.getvalue()


def meta_end(content):
    """Return where the data set begins."""
    return 144 + int.from_bytes(content[140:144], "little")


def steps(seconds=10, rate=250, leads=12, seed=0):
    """Return integers (channels, samples) that differ in every lead and sample."""
    return np.random.default_rng(seed).integers(-2000, 2000, (leads, round(seconds * rate)))

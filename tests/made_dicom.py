"""DICOM files with which the fuzzer begins: each transfer syntax, interpretation of samples and mark."""

from dicom_files import definition, dicom, group, steps
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from schemas.ecg_record import LEADS


def made():
    """Yield small files."""
    small = steps(9, 100) // 16
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        yield dicom(group(small, rate="100"), syntax=syntax, PatientAge="042Y")
    yield dicom(group(small, rate="100", order=">"), syntax=ExplicitVRBigEndian)
    yield dicom(group(small, rate="100", interpretation="SB"), preamble=False)
    columns = [
        group(small[place : place + 6], LEADS[place : place + 6], rate="100", MultiplexGroupTimeOffset="20")
        for place in (0, 6)
    ]
    yield dicom(*columns)
    channels = [definition(lead, unit="mV", sensitivity="0.005", bits=12, ChannelStatus="OK") for lead in LEADS]
    yield dicom(group(small, rate="100", channels=channels, WaveformPaddingValue=b"\0\0"))

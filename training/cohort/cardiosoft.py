"""Reads resting ECGs as GE CardioSoft exports them (`CardiologyXML`): UK Biobank's field 20205."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from engines.regular_file import open_regular
from inference.leads import standard_name
from inference.reading.in_child import ask
from inference.reading.xml_content import MAX_ELEMENTS
from schemas.ecg_record import MAX_STEP, EcgRecord
from schemas.errors import UnreadableFile

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_FILE_BYTES = 16 * 2**20
MEASUREMENT_TAGS = {
    "heart_rate_bpm": "VentricularRate",
    "pr_ms": "PQInterval",
    "qrs_ms": "QRSDuration",
    "qt_ms": "QTInterval",
    "p_axis_deg": "PAxis",
    "qrs_axis_deg": "RAxis",
    "t_axis_deg": "TAxis",
}
"""The layout's `MACHINE_MEASUREMENTS`, as CardioSoft calls them."""


@dataclass(frozen=True, slots=True)
class CardiosoftEcg:
    """An ECG, and what the device measured and said.

    Attributes:
        measurements: that the device took, by the names of the layout.
        atrial_fibrillation: whether a line of the interpretation begins so; None without an interpretation.
    """

    record: EcgRecord
    measurements: dict[str, float]
    atrial_fibrillation: bool | None


class _Answer(msgspec.Struct):
    ecg: CardiosoftEcg | None = None
    refusal: str = ""


def read_cardiosoft(path: Path) -> CardiosoftEcg:
    """Return the rhythm strip of a file, read in a bounded child. Names and birth dates are never read.

    Raises:
        UnreadableFile: the file is not there, is too large, or is not a CardioSoft ECG.
    """
    question = msgspec.msgpack.encode((os.fsencode(path.absolute()), str(path)))
    answered = msgspec.msgpack.decode(ask("training.cohort.cardiosoft:answer", question, path), type=_Answer)
    if answered.ecg is None:
        raise UnreadableFile(answered.refusal)
    return answered.ecg


def answer(question: bytes) -> bytes:
    """Return the answer to `read_cardiosoft`, in the child."""
    path, named = msgspec.msgpack.decode(question, type=tuple[bytes, str])
    try:
        found = _Answer(ecg=_read(Path(os.fsdecode(path)), named))
    except UnreadableFile as refusal:
        found = _Answer(refusal=refusal.detail)
    return msgspec.msgpack.encode(found)


def _read(path: Path, named: str) -> CardiosoftEcg:
    from defusedxml import DefusedXmlException, ElementTree

    try:
        with open_regular(path) as file:
            content = file.read(min(os.fstat(file.fileno()).st_size, MAX_FILE_BYTES) + 1)
        if len(content) > MAX_FILE_BYTES:
            raise UnreadableFile(f"{named} is larger than {MAX_FILE_BYTES >> 20} MiB, and so not an ECG at rest")
        if content.count(b"<") > 2 * MAX_ELEMENTS:
            raise UnreadableFile(f"{named} has more than {MAX_ELEMENTS:,} elements, and so is not an ECG at rest")
        root: Element = ElementTree.fromstring(content, forbid_dtd=True)
        return CardiosoftEcg(
            record=_record(root, path.stem),
            measurements=_measurements(root),
            atrial_fibrillation=_fibrillates(root),
        )
    except (OSError, ElementTree.ParseError, DefusedXmlException, ValueError, OverflowError) as error:
        raise UnreadableFile(f"{named} is not a CardioSoft ECG: {error}") from error


def _record(root: Element, record_id: str) -> EcgRecord:
    strip = root.find("StripData")
    if strip is None:
        raise ValueError("it has no StripData")
    waves = strip.findall("WaveformData")
    leads = [_steps(wave) for wave in waves]
    if not leads or len({len(lead) for lead in leads}) > 1:
        raise ValueError("its leads do not have equally many samples")
    resolution = strip.find("Resolution")
    if resolution is None or resolution.get("units") != "uVperLsb":
        raise ValueError("its resolution is not in µV")
    names = [wave.get("lead", "") for wave in waves]
    return EcgRecord(
        record_id=record_id,
        leads=tuple(standard_name(name) or name for name in names),
        sample_rate_hz=float(strip.findtext("SampleRate", "")),
        microvolts_per_step=float(resolution.text or ""),
        samples=_pack(leads),
    )


def _steps(wave: Element) -> list[int]:
    return [int(step) for step in (wave.text or "").strip().rstrip(",").split(",")]


def _pack(leads: Sequence[Sequence[int]]) -> bytes:
    return np.array(leads, np.int64).clip(-MAX_STEP, MAX_STEP).astype("<i2").tobytes()


def _measurements(root: Element) -> dict[str, float]:
    texts = {name: root.findtext(f"RestingECGMeasurements/{tag}") for name, tag in MEASUREMENT_TAGS.items()}
    return {name: float(text) for name, text in texts.items() if text and text.strip()}


def _fibrillates(root: Element) -> bool | None:
    lines = [line.text or "" for line in root.findall("Interpretation/Diagnosis/DiagnosisText")]
    return any(line.strip().lower().startswith("atrial fibrillation") for line in lines) if lines else None

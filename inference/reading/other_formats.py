"""Formats that `ecgdatakit` reads and that have no reader of ours.

What the library is not sure of reaches the record: its warnings become remarks, and leads to which it gives no unit of
voltage are no leads. Its errors become sentences.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from engines.regular_file import open_regular
from schemas.ecg_record import Remark
from schemas.errors import UnreadableFile

from .content import GZIP, read_content
from .patient import plausible_age, sex_of
from .recording import Channel, Part, Recording
from .units import millivolts_per

if TYPE_CHECKING:
    from ecgdatakit import ECGRecord
    from ecgdatakit.models import Lead

BY_NAME = (".dat", ".arc")
"""`ecgdatakit` recognises some formats by these endings and by what lies beside a file. They are not asked."""
OF_SCALE = ("raw ADC samples", "not in a voltage unit")
"""Words of warnings that say of leads what their channels say."""

_AGAIN = re.compile(r"_\d+$")
"""What the library appends to the name of a lead that comes again."""


def is_other_format(path: Path, head: bytes) -> bool:
    """Return whether `ecgdatakit` recognises a content by its first 4 KiB."""
    from ecgdatakit import FileParser

    parsers = [parser for parser in FileParser().parsers if not set(BY_NAME) & set(parser.FILE_EXTENSIONS)]
    return any(parser.can_parse(path, head) for parser in parsers)


def read_other(path: Path) -> Recording:
    """Return what `ecgdatakit` finds in a file. A compressed one is unpacked into a folder that only we can read.

    Raises:
        UnreadableFile: the library recognises no format, or the content is not as its format asks.
    """
    with open_regular(path) as opened:
        is_compressed = opened.read(len(GZIP)) == GZIP
    if not is_compressed:
        return _recording(path, path)
    with TemporaryDirectory() as folder:
        file = Path(folder, "ecg" + Path(path.stem).suffix)
        file.write_bytes(read_content(path))
        return _recording(file, path)


def _recording(file: Path, path: Path) -> Recording:
    parsed, said = _parsed(file, path)
    patient = parsed.patient
    return Recording(
        format_name=str(parsed.file_format.name),
        parts=tuple(_parts(parsed)),
        recorded_at=parsed.recording.date,
        age_years=plausible_age(patient.age),
        sex=sex_of(str(patient.sex)),
        paced=patient.has_pacemaker,
        remarks=tuple(Remark("library_warning", _plain(text, file)) for text in said if not _is_of_scale(text)),
    )


def _parsed(file: Path, path: Path) -> tuple[ECGRecord, Sequence[str]]:
    """Return what the library reads, and the sentences of its warnings."""
    from ecgdatakit import FileParser
    from ecgdatakit.exceptions import ECGDataKitError

    known = FileParser.detect_format(file)
    if known is None:
        raise UnreadableFile(f"{path} is of no format that has a reader: export the ECG as DICOM, SCP-ECG or HL7 aECG")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            parsed = FileParser.parse(file)
        except ECGDataKitError as error:
            if isinstance(error.__cause__, MemoryError):
                raise error.__cause__ from error
            why = _sentence(error, file)
            raise UnreadableFile(
                f"{path} was taken for {known['name']} and cannot be read{f' ({why})' if why else ''}: the file is "
                "damaged, or of a kind that has no reader. Export it again, or in another format"
            ) from error
    return parsed, tuple(dict.fromkeys(str(warning.message) for warning in caught))


def _parts(parsed: ECGRecord) -> Iterable[Part]:
    yield Part("the leads", tuple(_channels(parsed.leads)))
    if parsed.median_beats:
        yield Part("the median beats", tuple(_channels(parsed.median_beats)), derived=True)


def _channels(leads: Sequence[Lead]) -> Iterable[Channel]:
    labels = {str(lead.label) for lead in leads}
    for lead in leads:
        factor = None if lead.is_raw else millivolts_per(str(lead.units))
        first = _AGAIN.sub("", str(lead.label))
        yield Channel(
            name=first if first in labels else str(lead.label),
            samples=lead.samples * (factor or 1.0),
            rate_hz=float(lead.sampling_rate),
            unusable="" if factor else "without a scale" if lead.is_raw else f"in {lead.units or 'no unit'}",
        )


def _is_of_scale(text: str) -> bool:
    return any(words in text for words in OF_SCALE)


def _sentence(error: Exception, file: Path) -> str:
    """Return the library's own words, without those of Python, of which none help whoever has the file."""
    cause = error.__cause__
    text = str(error)
    if cause is not None and str(cause) in text:
        text = text[: text.index(str(cause))].removesuffix(f"{type(cause).__name__}: ")
    return _plain(text, file).rstrip(" :.,")


def _plain(text: str, file: Path) -> str:
    """Return a text of the library in one line, without the name of the file that it was given."""
    return " ".join(text.replace(str(file), "the file").replace(file.name, "the file").split())

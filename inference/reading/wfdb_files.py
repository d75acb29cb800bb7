"""The signal files that a WFDB header names: found beside the header and nowhere else, measured, and read in part."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from engines.regular_file import open_regular
from schemas.errors import UnreadableFile

from .content import SPECIAL_FILE, read_content
from .wfdb_flac import FAULTS, FLAC_BITS, FlacUnread, flac_length, flac_samples
from .wfdb_header import Signal, misread
from .wfdb_samples import DIFFERENCES, SAMPLE_FORMATS, Integers, SampleFormat

COMPRESSED = ".gz"
MAX_READ_BYTES = 16 * 2**20
"""Of a signal file. It bounds memory, however many signals share the file with the leads."""
MAX_FOLDER_ENTRIES = 100_000
"""A folder is searched for another spelling of a name up to this size."""


@dataclass(frozen=True, slots=True)
class Group:
    """The signals that share a file, in which they take turns frame by frame.

    Attributes:
        signals: in the order of the header.
        path: of the file.
        header: the path of the header, for the words of errors.
    """

    signals: tuple[Signal, ...]
    path: Path
    header: Path

    @property
    def frame_samples(self) -> int:
        """How many samples a frame holds."""
        return sum(signal.samples_per_frame for signal in self.signals)

    @property
    def most_frames(self) -> int:
        """How many frames are read at most."""
        known = SAMPLE_FORMATS.get(self.signals[0].format)
        return (known.samples_in(MAX_READ_BYTES) if known else MAX_READ_BYTES // 4) // self.frame_samples

    def frames(self) -> int:
        """Return how many frames the file holds.

        Raises:
            UnreadableFile: it cannot be read.
        """
        first = self.signals[0]
        if first.format in FLAC_BITS:
            return max(self._flac_length() - first.byte_offset, 0) // first.samples_per_frame
        size = len(self._content()) if self._is_compressed() else self.path.stat().st_size
        return SAMPLE_FORMATS[first.format].samples_in(size - first.byte_offset) // self.frame_samples

    def read(self, frames: int) -> list[Integers]:
        """Return the samples of each signal in the first frames. The file must hold so many.

        Raises:
            UnreadableFile: it cannot be read.
        """
        first = self.signals[0]
        if first.format in FLAC_BITS:
            return self._flac_samples(frames)
        known = SAMPLE_FORMATS[first.format]
        count = frames * self.frame_samples
        rows = known.samples(self._bytes(known, count), count).reshape(frames, self.frame_samples)
        if all(signal.samples_per_frame == 1 for signal in self.signals):
            columns = [*np.ascontiguousarray(rows.T)]
            return _summed(self.signals, columns) if first.format == DIFFERENCES else columns
        ends = itertools.accumulate(signal.samples_per_frame for signal in self.signals)
        signals = [
            rows[:, end - signal.samples_per_frame : end].reshape(-1)
            for signal, end in zip(self.signals, ends, strict=True)
        ]
        return _summed(self.signals, signals) if first.format == DIFFERENCES else signals

    def _bytes(self, known: SampleFormat, samples: int) -> bytes:
        start, size = self.signals[0].byte_offset, known.bytes_for(samples)
        if self._is_compressed():
            return self._content()[start : start + size]
        with open_regular(self.path) as file:
            file.seek(start)
            return file.read(size)

    def _flac_length(self) -> int:
        if len({signal.samples_per_frame for signal in self.signals}) > 1:
            raise misread(self.header, FAULTS["other_shape"].format(name=self.path.name))
        try:
            return flac_length(self.path, self.signals[0].format, len(self.signals))
        except FlacUnread as error:
            raise misread(self.header, str(error)) from error

    def _flac_samples(self, frames: int) -> list[Integers]:
        first = self.signals[0]
        count = frames * first.samples_per_frame
        try:
            return [*flac_samples(self.path, first.format, len(self.signals), first.byte_offset, count)]
        except FlacUnread as error:
            raise misread(self.header, str(error)) from error

    def _is_compressed(self) -> bool:
        named_so = any(signal.file.lower().endswith(COMPRESSED) for signal in self.signals)
        return self.path.suffix.lower() == COMPRESSED and not named_so

    def _content(self) -> bytes:
        return read_content(self.path)


def group_signals(signals: Sequence[Signal], header: Path) -> list[tuple[Signal, ...]]:
    """Return the signals by file, without those that have none.

    Raises:
        UnreadableFile: the signals of a file do not follow each other, or differ in format or start.
    """
    with_file = [signal for signal in signals if signal.has_samples]
    groups = [tuple(group) for _, group in itertools.groupby(with_file, key=lambda signal: signal.file)]
    if len({group[0].file for group in groups}) < len(groups):
        raise misread(header, "its signals of one file do not follow each other: put their lines together")
    for group in groups:
        if len({(signal.format, signal.byte_offset) for signal in group}) > 1:
            raise misread(header, f"its signals of {group[0].file!r} differ in format or byte offset, which cannot be")
    return groups


def find_group(signals: tuple[Signal, ...], header: Path) -> Group:
    """Return the group of signals with its file.

    Raises:
        UnreadableFile: the file is not there, or its format has no reader.
    """
    first = signals[0]
    if first.format not in SAMPLE_FORMATS and first.format not in FLAC_BITS:
        known = ", ".join(sorted([*SAMPLE_FORMATS, *FLAC_BITS], key=int))
        raise misread(
            header, f"its signals have format {first.format}, which signal(5) does not know: it knows {known}"
        )
    return Group(signals, find_beside(header, first.file, "signal file"), header)


def find_beside(header: Path, name: str, kind: str) -> Path:
    """Return the file of that name in the header's folder or below it, or its gzip, in any form of Unicode.

    A file whose name differs in capitals alone is taken where it is the only one. A header comes from somebody else: it
    must not make us read any other file.

    Raises:
        UnreadableFile: the name leads elsewhere, or no such file is there.
    """
    inside = PurePosixPath(name.replace("\0", "?"))  # no system has a name with a zero in it
    if inside.is_absolute() or ".." in inside.parts:
        sentence = f"it names the {kind} {name!r}, which lies outside the header's folder"
        raise misread(header, f"{sentence}: put the file beside the header, and write its name alone")
    path = header.parent / inside
    places = (place for form in (path, _respelled(path)) for place in (form, form.with_name(form.name + COMPRESSED)))
    found = next(filter(_is_file, places), None) or _in_other_capitals(path)
    if found is None and _is_special(path):
        sentence = f"it names the {kind} {name!r}, which is not there as a file: it is {SPECIAL_FILE}"
        raise UnreadableFile(f"{header} cannot be read as an ECG: {sentence}", code="special_file")
    if found is None:
        sentence = f"it names the {kind} {name!r}, which is not there: copy the file beside the header"
        raise UnreadableFile(f"{header} cannot be read as an ECG: {sentence}", code="missing_file")
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False


def _is_special(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except OSError:
        return False


def _respelled(path: Path) -> Path:
    """Return the path whose name is the same text in another form of Unicode, as archives from a Mac hold it."""
    if path.name.isascii():
        return path
    wanted = unicodedata.normalize("NFC", path.name)
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in itertools.islice(entries, MAX_FOLDER_ENTRIES)]
    except OSError:
        return path
    alike = (name for name in names if unicodedata.normalize("NFC", name) in {wanted, wanted + COMPRESSED})
    return path.with_name(next(alike, path.name))


def _in_other_capitals(path: Path) -> Path | None:
    """Return the only file whose name differs in the capitals of its stem or its ending, as some systems copy it.

    A search of the folder would take the square of the time in a folder of headers without signal files.
    """
    stem, ending = path.stem, path.suffix
    stems, endings = {stem, stem.lower(), stem.upper()}, {ending, ending.lower(), ending.upper()}
    names = {one + other for one in stems for other in endings}
    names |= {name + COMPRESSED for name in names} | {name + COMPRESSED.upper() for name in names}
    found = list(filter(_is_file, map(path.with_name, sorted(names))))
    return found[0] if len(found) == 1 else None


def _summed(signals: Sequence[Signal], differences: Sequence[Integers]) -> list[Integers]:
    return [
        np.asarray(steps.cumsum(dtype=np.int64) + signal.initial)
        for signal, steps in zip(signals, differences, strict=True)
    ]

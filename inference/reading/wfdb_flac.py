"""The samples of FLAC files, in which WFDB may keep signals. A library of others decodes them, in the child."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from .content import head_of
from .in_child import ask

if TYPE_CHECKING:
    from soundfile import SoundFile

FLAC_BITS = {"508": 8, "516": 16, "524": 24}
"""The formats that are FLAC files, and the widest samples of each."""
FLAC_MARK = b"fLaC"
"""The first bytes of a FLAC file."""
DEPTHS = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}

Fault: TypeAlias = Literal["no_flac", "other_shape", "damaged", "cut_short"]
FAULTS: dict[Fault, str] = {
    "no_flac": "its signal file {name} is no FLAC file, as its format says",
    "other_shape": "its FLAC file {name} has other channels or samples than it says",
    "damaged": "its FLAC file {name} is damaged: copy it again",
    "cut_short": "its FLAC file {name} is cut short: copy it again",
}


class FlacUnread(Exception):  # noqa: N818 -- it names the condition, as the others do
    """A FLAC file that is not as its header says. The argument is the sentence."""


class FlacPart(msgspec.Struct, frozen=True):
    """A part of a file.

    Attributes:
        format: of WFDB, which says how wide the samples are.
        channels: how many the header says that there are.
        start: the first sample of each channel.
        count: how many of each channel; 0: only the length is asked for.
    """

    path: bytes
    format: str
    channels: int
    start: int = 0
    count: int = 0


class _Answer(msgspec.Struct):
    fault: Fault | None = None
    length: int = 0
    samples: bytes = b""


def flac_length(path: Path, number: str, channels: int) -> int:
    """Return how many samples each channel of a file has.

    Raises:
        FlacUnread: it is not as its header says.
        UnreadableFile: the child that decodes it reached a limit.
    """
    return _asked(path, FlacPart(_named(path), number, channels)).length


def flac_samples(path: Path, number: str, channels: int, start: int, count: int) -> list[NDArray[np.int32]]:
    """Return a part of the samples, channel by channel.

    Raises:
        FlacUnread: it is not as its header says, or holds no such part.
        UnreadableFile: the child that decodes it reached a limit.
    """
    answer = _asked(path, FlacPart(_named(path), number, channels, start, count))
    return list(np.frombuffer(answer.samples, np.int32).reshape(channels, -1))


def answer_flac(question: bytes) -> bytes:
    """Return the answer of the child."""
    part = msgspec.msgpack.decode(question, type=FlacPart)
    opened = _open(part)
    return msgspec.msgpack.encode(opened if isinstance(opened, _Answer) else _decoded(opened, part))


def _named(path: Path) -> bytes:
    return os.fsencode(path.absolute())


def _asked(path: Path, part: FlacPart) -> _Answer:
    if head_of(path, len(FLAC_MARK)) != FLAC_MARK:  # the library would try every audio format on it
        raise FlacUnread(FAULTS["no_flac"].format(name=path.name))
    answer = msgspec.msgpack.decode(ask(f"{__name__}:answer_flac", msgspec.msgpack.encode(part), path), type=_Answer)
    if answer.fault:
        raise FlacUnread(FAULTS[answer.fault].format(name=path.name))
    return answer


def _open(part: FlacPart) -> SoundFile | _Answer:
    import soundfile

    path = Path(os.fsdecode(part.path))
    if head_of(path, len(FLAC_MARK)) != FLAC_MARK:
        return _Answer(fault="no_flac")
    try:
        file = soundfile.SoundFile(str(path))
    except (soundfile.SoundFileError, OSError):
        return _Answer(fault="no_flac")
    depth = DEPTHS.get(file.subtype, 0) if file.format == "FLAC" else 0
    if not 0 < depth <= FLAC_BITS[part.format] or file.channels != part.channels:
        file.close()
        return _Answer(fault="other_shape")
    return file


def _decoded(file: SoundFile, part: FlacPart) -> _Answer:
    import soundfile

    with file:
        wide = 32 if file.subtype == "PCM_24" else 16
        if not part.count:
            return _Answer(length=int(file.frames))
        try:
            file.seek(part.start)
            samples = file.read(part.count, dtype=f"int{wide}", always_2d=True)
        except soundfile.SoundFileError:
            return _Answer(fault="damaged")
        if len(samples) < part.count:
            return _Answer(fault="cut_short")
        shifted = (samples >> (wide - DEPTHS[file.subtype])).astype(np.int32)
        return _Answer(length=len(samples), samples=np.ascontiguousarray(shifted.T).tobytes())

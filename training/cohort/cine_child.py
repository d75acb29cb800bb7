"""Has cines read in the bounded child that reads ECGs as well, for libraries of others parse them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from inference.reading.in_child import ask
from schemas.errors import UnreadableFile

from .layout import CINE_SHAPE


class _Question(msgspec.Struct):
    folder: bytes
    path: bytes


class _Answer(msgspec.Struct):
    cine: bytes = b""
    refusal: str = ""


def ask_for_cine(function: str, path: Path) -> NDArray[np.uint8]:
    """Return the cine (50, 96, 96) of a path, read by a function in the child.

    Args:
        function: module and name; it takes a question, and answers by `answered_cine`.
        path: of the cine.

    Raises:
        UnreadableFile: the function refuses the path, or reached a limit of the child.
    """
    question = msgspec.msgpack.encode(_Question(os.fsencode(Path.cwd()), os.fsencode(path)))
    answer = msgspec.msgpack.decode(ask(function, question, path), type=_Answer)
    if answer.refusal:
        raise UnreadableFile(answer.refusal)
    return np.frombuffer(answer.cine, np.uint8).reshape(CINE_SHAPE)


def answered_cine(question: bytes, read: Callable[[Path], NDArray[np.uint8]]) -> bytes:
    """Return the answer to a question, in the child: what `read` returns, or why it refuses the path."""
    asked = msgspec.msgpack.decode(question, type=_Question)
    os.chdir(asked.folder)
    try:
        return msgspec.msgpack.encode(_Answer(cine=read(Path(os.fsdecode(asked.path))).tobytes()))
    except UnreadableFile as refusal:
        return msgspec.msgpack.encode(_Answer(refusal=refusal.detail))

"""What runs in the child of `bounded_child.py`: it sets its limits, and answers until its parent has gone."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import BinaryIO

from .bounded_child import ANSWER, BROKEN, LENGTH, NO_MEMORY


def serve(memory: int, processor_s: int, written: int) -> None:
    """Answer the questions on standard input, one after the other, on standard output."""
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)  # what a library prints is no answer
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_FSIZE, written)
    _limit(resource.RLIMIT_CORE, 0)  # a core file would hold a patient's data
    while (place := _read(source)) is not None and (question := _read(source)) is not None:
        _limit(resource.RLIMIT_CPU, _used_s() + processor_s)
        answer = _answer(place.decode(), question)
        target.write(LENGTH.pack(len(answer)) + answer)
        target.flush()
        if answer == NO_MEMORY:
            return


def _answer(place: str, question: bytes) -> bytes:
    try:
        return ANSWER + _function(place)(question)
    except MemoryError:
        return NO_MEMORY
    except Exception as error:  # noqa: BLE001 -- the parent says what it means
        return BROKEN + type(error).__name__.encode()


def _function(place: str) -> Callable[[bytes], bytes]:
    module, _, name = place.partition(":")
    function: Callable[[bytes], bytes] = getattr(import_module(module), name)
    return function


def _read(source: BinaryIO) -> bytes | None:
    """Return the next part of a question; None when the parent has gone."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return source.read(LENGTH.unpack(head)[0])


def _used_s() -> int:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return int(used.ru_utime + used.ru_stime) + 1


def _limit(what: int, value: int) -> None:
    """Set a limit that can be raised again. Some systems do not know all of them."""
    with suppress(ValueError, OSError):
        _, most = resource.getrlimit(what)
        resource.setrlimit(what, (value if most == resource.RLIM_INFINITY else min(value, most), most))

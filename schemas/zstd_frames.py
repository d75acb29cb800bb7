"""Zstd frames, compressed and decompressed within bounds.

A frame claims how many bytes it holds and how large a window it needs. A decoder allocates what a frame claims, so the
claims are checked before the frame is decompressed.
"""

# ruff: noqa: N818 -- the error names the condition, as those in schemas/errors.py do

from __future__ import annotations

from functools import lru_cache
from threading import get_ident

import zstandard

LEVEL = 3
MAX_WINDOW_BYTES = 8 * 2**20
"""RFC 8878 asks every decoder to support a window of this size."""


class UnusableFrame(Exception):
    """A frame that cannot be decompressed, or must not be.

    Attributes:
        is_oversized: whether a claim of the frame is over a bound.
        content_bytes: what the frame claims or holds, where that is the reason.
        window_bytes: the window that the frame needs, where that is the reason.
    """

    def __init__(
        self,
        sentence: str,
        *,
        is_oversized: bool = False,
        content_bytes: int | None = None,
        window_bytes: int | None = None,
    ) -> None:
        super().__init__(sentence)
        self.is_oversized = is_oversized
        self.content_bytes = content_bytes
        self.window_bytes = window_bytes


def compress(content: bytes) -> bytes:
    """Return a frame of the content. The frame claims the content's size."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(content)


def decompress(frame: bytes, *, max_bytes: int, size: int | None = None, must_claim: bool = False) -> bytes:
    """Return the content of a frame, which may come from anywhere.

    Args:
        frame: exactly one.
        max_bytes: the most that a frame may claim or hold, at least 1.
        size: what this frame must hold, where that is known: 1 to `max_bytes`.
        must_claim: whether a frame that does not claim a size is refused.

    Raises:
        UnusableFrame: it is no such frame, or claims or holds something else.
    """
    try:
        _check_claims(frame, max_bytes, size, must_claim=must_claim)
        content = _decompressor(get_ident()).decompress(
            frame, max_output_size=size or max_bytes, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise UnusableFrame(f"no zstd frame: {error}") from error
    if size not in {None, len(content)}:
        raise UnusableFrame(f"the zstd frame holds {len(content)} bytes, not {size}", content_bytes=len(content))
    return content


@lru_cache(maxsize=16)
def _decompressor(thread: int) -> zstandard.ZstdDecompressor:  # noqa: ARG001  the key
    """Return the decompressor of a thread: a new one costs 8 µs, and two threads must not use one at the same time."""
    return zstandard.ZstdDecompressor()


def _check_claims(frame: bytes, max_bytes: int, size: int | None, *, must_claim: bool) -> None:
    claims = zstandard.get_frame_parameters(frame)
    if claims.content_size == zstandard.CONTENTSIZE_UNKNOWN:
        if must_claim:
            raise UnusableFrame("the zstd frame claims no size")
    elif claims.content_size > max_bytes or size not in {None, claims.content_size}:
        raise UnusableFrame(
            f"the zstd frame claims {claims.content_size} bytes, not {size or f'at most {max_bytes}'}",
            is_oversized=claims.content_size > max_bytes,
            content_bytes=claims.content_size,
        )
    if claims.window_size > MAX_WINDOW_BYTES:
        raise UnusableFrame(
            f"the zstd frame needs a window of more than {MAX_WINDOW_BYTES} bytes",
            is_oversized=True,
            window_bytes=claims.window_size,
        )

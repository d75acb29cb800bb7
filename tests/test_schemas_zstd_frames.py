"""Zstd frames: what a frame claims is checked before anything of that size is allocated."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from schemas.zstd_frames import MAX_WINDOW_BYTES, UnusableFrame, compress, decompress

HUGE = 50 * 2**20


def unsized(content):
    """A frame that does not claim a size."""
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(content) + stream.flush()


def wide_window():
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return stream.compress(bytes(12)) + stream.flush()


@given(content=st.binary(min_size=1, max_size=2000))
def test_a_frame_gives_back_its_content(content):
    size = len(content)

    assert decompress(compress(content), max_bytes=size) == content
    assert decompress(compress(content), max_bytes=10**6, size=size, must_claim=True) == content
    assert decompress(unsized(content), max_bytes=10**6, size=size) == content


def test_an_empty_content_is_a_content():
    assert decompress(compress(b""), max_bytes=1) == b""


def test_threads_decompress_at_the_same_time():
    contents = [bytes([number]) * 200_000 + bytes(range(number, number + 50)) * 99 for number in range(8)]
    frames = [compress(content) for content in contents]
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda frame: decompress(frame, max_bytes=10**6), frames * 40)
        assert list(found) == contents * 40


def test_a_frame_that_is_refused_leaves_no_trace_in_the_next_one():
    whole = compress(bytes(range(256)) * 99)
    for cut in range(20, len(whole), 7):
        with pytest.raises(UnusableFrame):
            decompress(whole[:cut], max_bytes=10**6)
        assert decompress(whole, max_bytes=10**6) == bytes(range(256)) * 99


REFUSED = {
    "no frame": (b"x" * 100, "no zstd frame", False),
    "nothing": (b"", "no zstd frame", False),
    "a frame cut short": (compress(bytes(range(12)))[:-2], "no zstd frame", False),
    "two frames": (compress(bytes(12)) * 2, "no zstd frame", False),
    "bytes after the frame": (compress(bytes(12)) + b"x", "no zstd frame", False),
    "a smaller claim": (compress(bytes(11)), "claims 11 bytes, not 12", False),
    "a greater claim": (compress(bytes(13)), "claims 13 bytes, not 12", False),
    "a claim over the bound": (compress(bytes(HUGE)), f"claims {HUGE} bytes, not 12", True),
    "less than was to come, unclaimed": (unsized(bytes(11)), "holds 11 bytes, not 12", False),
    "a bomb that claims nothing": (unsized(bytes(HUGE)), "no zstd frame", False),
    "a wide window": (wide_window(), "needs a window", True),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_frame_that_is_not_what_it_should_be_is_refused_without_a_big_allocation(name):
    frame, sentence, oversized = REFUSED[name]
    decompress(compress(bytes(12)), max_bytes=100, size=12)
    tracemalloc.start()
    try:
        with pytest.raises(UnusableFrame, match=sentence) as refusal:
            decompress(frame, max_bytes=100, size=12)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert refusal.value.is_oversized == oversized
    assert peak < 2**20


def test_a_refusal_carries_the_size_that_is_its_reason():
    with pytest.raises(UnusableFrame) as refusal:
        decompress(compress(bytes(13)), max_bytes=100, size=12)
    assert (refusal.value.content_bytes, refusal.value.window_bytes) == (13, None)
    with pytest.raises(UnusableFrame) as refusal:
        decompress(wide_window(), max_bytes=100, size=12)
    assert refusal.value.content_bytes is None
    assert refusal.value.window_bytes > MAX_WINDOW_BYTES


def test_a_frame_without_a_claim_is_refused_where_a_claim_is_asked_for():
    with pytest.raises(UnusableFrame, match="claims no size"):
        decompress(unsized(bytes(12)), max_bytes=100, size=12, must_claim=True)


@pytest.mark.parametrize("frame", [compress(bytes(101)), unsized(bytes(101))])
def test_the_bound_holds_where_the_size_is_not_known(frame):
    assert decompress(frame, max_bytes=101) == bytes(101)
    with pytest.raises(UnusableFrame):
        decompress(frame, max_bytes=100)

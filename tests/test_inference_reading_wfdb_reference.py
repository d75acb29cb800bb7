"""What `wfdb` reads of a record, we read of it, sample for sample: of records of any form, and of every real one."""

import tarfile
import tempfile
import warnings
from pathlib import Path

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from needed import ECGS, needs_real_ecgs

from inference.leads import standard_name
from inference.reading.units import millivolts_per
from inference.reading.wfdb_channels import is_lead, read_stretch
from inference.reading.wfdb_record import read_wfdb
from inference.reading.wfdb_segments import read_header

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # wfdb's own, about the newest pandas
    import soundfile
    import wfdb


def by_wfdb(header, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wfdb.rdrecord(str(header.with_suffix("")), smooth_frames=False, **options)


def packed_212(row):
    pairs = np.append(row, np.zeros(len(row) % 2, int)).reshape(-1, 2) & 0xFFF
    triples = np.stack([pairs[:, 0] & 0xFF, pairs[:, 0] >> 8 | (pairs[:, 1] >> 8) << 4, pairs[:, 1] & 0xFF], axis=1)
    return triples.astype("u1").tobytes()[: -(-len(row) * 3 // 2)]


def packed_310(row):
    a, b, c = (np.append(row, np.zeros(-len(row) % 3, int)).reshape(-1, 3) & 0x3FF).T
    return np.stack([a << 1 | (c & 31) << 11, b << 1 | (c >> 5) << 11], axis=1).astype("<u2").tobytes()


def packed_311(row):
    a, b, c = (np.append(row, np.zeros(-len(row) % 3, int)).reshape(-1, 3) & 0x3FF).T
    return (a | b << 10 | c << 20).astype("<u4").tobytes()


PACKED = {
    "8": (8, lambda row: row.astype("i1").tobytes()),
    "16": (16, lambda row: row.astype("<i2").tobytes()),
    "24": (24, lambda row: np.frombuffer(row.astype("<i4").tobytes(), "u1").reshape(-1, 4)[:, :3].tobytes()),
    "32": (32, lambda row: row.astype("<i4").tobytes()),
    "61": (16, lambda row: row.astype(">i2").tobytes()),
    "80": (8, lambda row: (row + 128).astype("u1").tobytes()),
    "160": (16, lambda row: (row + 32768).astype("<u2").tobytes()),
    "212": (12, packed_212),
    "310": (10, packed_310),
    "311": (10, packed_311),
    "508": (8, None),
    "516": (16, None),
    "524": (24, None),
}
"""The bits of a sample, and how a row of samples becomes bytes. Rows of the last three become FLAC files."""
FLAC_SUBTYPES = {"508": ("PCM_S8", 8, "int16"), "516": ("PCM_16", 0, "int16"), "524": ("PCM_24", 8, "int32")}

MOVED = set(PACKED) - {"8", *FLAC_SUBTYPES}
"""The formats in which wfdb moves a skewed signal. It cannot where a frame has several samples."""

gains = st.sampled_from(["200", "200.0", "1000", "0", "-200", "1e3", "2.5e-1", "4880.5", "0.2", "1", "-.5"])
baselines = st.one_of(st.none(), st.integers(-40000, 40000))
units = st.sampled_from([None, "mV", "uV", "V", "mv", "µV"])
names = st.sampled_from(["I", "II", "aVR", "avf", "V1", "v6", "Lead I", "MLII", "RESP", ""])
numbers = st.lists(st.integers(-1000, 1000), min_size=0, max_size=5)


@st.composite
def signal_texts(draw, file, fmt, per_frame, offset):
    """A signal line, with as many fields as are drawn, and its skew."""
    skew = draw(st.sampled_from([0, 0, 0, 1, 3]))
    layout = fmt + (f"x{per_frame}" if per_frame > 1 or draw(st.booleans()) else "")
    layout += (f":{skew}" if skew else "") + (f"+{offset}" if offset else "")
    if fmt != "8" and draw(st.integers(0, 9)) == 0:
        return f"{file} {layout}", skew
    gain, baseline, unit = draw(gains), draw(baselines), draw(units)
    text = gain + ("" if baseline is None else f"({baseline})") + ("" if unit is None else f"/{unit}")
    fields = [abs(draw(st.integers(0, 24))), *draw(st.lists(st.integers(-5000, 5000), min_size=3, max_size=3)), 0]
    count = 5 if fmt == "8" else draw(st.sampled_from([5, 5, 5, 0, 1, 2, 3, 4]))
    name = draw(names) if count == 5 else ""
    space = draw(st.sampled_from([" ", "\t", "  "]))
    return space.join([file, layout, text, *map(str, fields[:count]), name]).rstrip(), skew


@st.composite
def records(draw):
    """Return the lines of a header, the skews, and the content of each signal file."""
    frames = draw(st.integers(4, 40))
    lines, skews, files = [], [], {}
    for number in range(draw(st.integers(1, 3))):
        fmt = draw(st.sampled_from(sorted(PACKED, key=int)))
        bits, pack = PACKED[fmt]
        shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
        shape = [shape[0]] * len(shape) if pack is None else shape
        offset = draw(st.sampled_from([0, 0, 24, 5]))
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        seed = draw(st.integers(0, 2**32 - 1))
        row = np.random.default_rng(seed).integers(low, high + 1, frames * sum(shape), np.int64)
        row[:: draw(st.integers(2, 9))] = draw(st.sampled_from([low, high, 0, -1]))
        name = f"r{number}.dat"
        for per_frame in shape:
            text, skew = draw(signal_texts(name, fmt, per_frame, offset))
            lines.append(text)
            skews.append(skew)
        files[name] = (fmt, offset, len(shape), shape[0], row, pack)
    lengths = [f" {frames}", f" {frames} 8:05:03 2/1/2180", f" {frames} 08:05:03.5 28/02/1999"]
    from_file = [""] if files["r0.dat"][0] not in FLAC_SUBTYPES else []  # wfdb takes no length from a FLAC file
    length = draw(st.sampled_from([*lengths, *from_file]))
    rate = draw(st.sampled_from([*from_file, "500", "360.0", "250/500(3)", "257.0637"]))
    record_line = f"r {len(lines)} {rate}{length if rate else ''}".rstrip()
    return record_line, lines, skews, files


def write_signal_file(path, fmt, offset, signals, per_frame, row, pack):
    if pack is not None:
        path.write_bytes(bytes(offset) + pack(row))
        return
    subtype, shift, dtype = FLAC_SUBTYPES[fmt]
    samples = row.reshape(-1, signals, per_frame).transpose(0, 2, 1).reshape(-1, signals)
    padded = np.concatenate([np.zeros((offset, signals), np.int64), samples])
    soundfile.write(path, (padded << shift).astype(dtype), 500, subtype, format="FLAC")


@settings(max_examples=300, deadline=None)
@given(
    records(),
    st.lists(st.from_regex(r"[A-Za-z<][A-Za-z0-9 :<>.]{0,20}", fullmatch=True), max_size=3),
    st.sampled_from(["\n", "\r\n"]),
)
def test_a_record_of_any_form_is_what_wfdb_takes_it_for(record, comments, end):
    record_line, lines, skews, files = record
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, described in files.items():
            write_signal_file(folder / file, *described)
        text = ["# before", record_line, "", *lines, *(f"# {comment}" for comment in comments), ""]
        (folder / "r.hea").write_bytes(end.join(text).encode())
        header = read_header(folder / "r.hea")
        try:
            theirs = by_wfdb(folder / "r.hea", ignore_skew=True)
        except ValueError:
            assume(record_line.count(" ") >= 3)  # without a length, wfdb takes the padding of 310 for samples
            raise
        is_plain = all(signal.samples_per_frame == 1 and signal.format in MOVED for signal in header.signals)
        try:
            moved = by_wfdb(folder / "r.hea").e_p_signal if is_plain else theirs.e_p_signal
        except ValueError:
            assume(not any(skews))  # wfdb fails where the skew is long for so few samples
            raise
        ours = read_stretch(header, folder / "r.hea") if any(map(is_lead, header.signals)) else None
    assert header.rate_hz == theirs.fs
    assert header.recorded_at == theirs.base_datetime
    assert [" ".join(line.split()) for line in header.comments] == [" ".join(line.split()) for line in theirs.comments]
    assert [signal.name or None for signal in header.signals] == theirs.sig_name
    if ours is None or ours.frames != theirs.sig_len:
        assert ours is None or record_line.count(" ") < 3  # padding may pass for samples where no length is given
        return
    for row in zip(ours.channels, header.signals, skews, theirs.e_p_signal, moved, strict=True):
        compare(header.rate_hz, is_plain, *row)


def compare(rate_hz, is_plain, channel, signal, skew, values, moved):
    if not is_lead(signal):
        return
    scale = millivolts_per(signal.units)
    np.testing.assert_array_equal(channel.millivolts, values * scale)
    assert channel.start_s == -skew / rate_hz
    if is_plain:
        np.testing.assert_array_equal(channel.millivolts[skew:], moved[: len(moved) - skew] * scale)


def real_headers(unpacked):
    return sorted(path for root in (ECGS, unpacked) for path in root.rglob("*.hea"))


@needs_real_ecgs
def test_every_real_record_has_the_samples_that_wfdb_reads(tmp_path):
    with tarfile.open(ECGS / "more" / "wfdb_code15_short.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    compared = 0
    for header in real_headers(tmp_path):
        if header.parent.name == "wfdb" and header.parent.parent.name == "faults":
            continue  # of these, wfdb reads some wrong: test_inference_reading_wfdb.py says what they mean
        ours, theirs = read_wfdb(header).parts[0].channels, by_wfdb(header)
        assert [channel.name for channel in ours] == theirs.sig_name
        for channel, values in zip(ours, theirs.e_p_signal, strict=True):
            if standard_name(channel.name):
                np.testing.assert_array_equal(channel.millivolts, values[: len(channel.millivolts)], str(header))
        compared += 1
    assert compared >= 850

"""What the fuzzer feeds: a target for each reader, for WFDB's header and signals, other formats, the codec, the stream.

Of the stream: the gate, what a consumer makes of the bytes that a fetch brings, the dashboard's messages, and cines.

A target takes bytes. It may return, or raise what its part promises to raise. A module `made_NAME.py` beside this one,
with a function `made()` that yields contents of files, gives seeds; so do the real files of ../shared, where they are.
"""

import atexit
import importlib
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import changed_batches
import numpy as np
from odd_ecgs import SEEDS, check_intake
from odd_messages import check_cine, check_messages, cine_seeds, message_seeds

from inference.gate import LIMITS
from inference.intake import take_in
from inference.reading.assemble import assemble
from inference.reading.content import HEAD_BYTES
from inference.reading.formats import FORMATS
from inference.reading.read_ecg import read_ecg
from inference.reading.wfdb_record import read_wfdb
from schemas.codec import decode_ecg, encode_ecg
from schemas.ecg_record import LEADS, EcgRecord
from schemas.errors import RecordError, TransientError, UnreadableFile

HERE = Path(__file__).resolve().parent
REAL = HERE.parents[1] / "shared" / "data" / "ecg"
GOLDEN = HERE.parent / "schemas" / "golden"
MAX_SEED_BYTES = 256 * 1024

PYTHON_MESSAGE = re.compile(
    r"object has no attribute|object is not|out of range|out of bounds|invalid literal|not subscriptable|to unpack"
    r"|codec can't|cannot reshape|could not convert|unsupported operand|Traceback|must be str|positional argument"
    r"|NoneType|not enough values|buffer size must|KeyError|IndexError|ValueError|TypeError|<class |0x[0-9a-f]{8}"
)
"""What an error of ours never says to a user."""


@dataclass(frozen=True)
class Target:
    """What is fed, what it may raise, and with which contents the fuzzer begins."""

    name: str
    run: object
    allowed: tuple[type[BaseException], ...]
    seeds: tuple[bytes, ...]


def targets():
    """Return the targets by name."""
    found = [*(of_format(known) for known in FORMATS), *of_wfdb(), of_other_formats(), of_codec(), *of_the_stream()]
    found.append(Target("record-batches", changed_batches.consume, (), changed_batches.SEEDS))
    return {target.name: target for target in found}


def short_name(name):
    """Return a name as it is written after READER=."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def of_format(known):
    """Return the target of one reader: what it reads is assembled, examined and encoded."""

    def run(content):
        follow(assemble(known.read(content, Path("fuzzed.ecg")), Path("fuzzed.ecg")))

    seeds = tuple(content for content in contents() if known.recognise(content[:HEAD_BYTES]))
    return Target(short_name(known.name), run, (UnreadableFile,), seeds)


def follow(record):
    """Take a record further, as `screen` and `publish` do; a refusal of either is an answer."""
    if record.n_samples * len(record.leads) <= 12 * LIMITS.max_rate_hz * 60:
        take_in([record], 1)
    try:
        encode_ecg(record)
    except RecordError:
        return


def contents():
    """Yield the contents of made files, and of real ones that are not too large."""
    for module in sorted(HERE.glob("made_*.py")):
        yield from importlib.import_module(module.stem).made()
    for folder in (REAL / "formats", REAL / "more" / "formats", REAL / "faults"):
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.is_file() and path.stat().st_size <= MAX_SEED_BYTES:
                yield path.read_bytes()


WFDB_HEADERS = tuple(
    f"r 2 250 500\nr.dat {layout} 200(0)/mV {bits} 0 0 0 0 I\nr.dat {layout} 200(0)/mV {bits} 0 0 0 0 II\n# Age: 50\n"
    for layout, bits in (("16", 16), ("212", 12), ("80", 8), ("61", 16), ("160", 16), ("24", 24), ("32", 32))
) + tuple(
    f"r 1 250 500\nr.dat {layout} 200(0)/mV {bits} 0 0 0 0 II\n"
    for layout, bits in (("310", 10), ("311", 10), ("16x2", 16), ("16:3", 16), ("16+4", 16), ("8", 8), ("508", 16))
)


def scratch_folder():
    """Return a folder that is removed at the end of the process."""
    folder = Path(tempfile.mkdtemp(prefix="cardiacnets-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def of_wfdb():
    """Yield two targets: the header over samples that stand, and the samples under headers that stand."""
    folder = scratch_folder()
    header, signal = folder / "r.hea", folder / "r.dat"
    samples = np.zeros(12 * 5000, "<i2").tobytes()

    def read():
        follow(assemble(read_wfdb(header), header))

    def run_header(content):
        header.write_bytes(content)
        signal.write_bytes(samples)
        read()

    def run_signals(content):
        header.write_text(WFDB_HEADERS[content[0] % len(WFDB_HEADERS)] if content else "", encoding="utf-8")
        signal.write_bytes(content[1:])
        read()

    lines = "".join(f"r.dat 16 1000.0(0)/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
    whole = f"r 12 500 5000 10:30:00 01/02/2020\n{lines}# <age>: 61 <sex>: F\n#Dx: 426783006\n".encode()
    real = tuple(path.read_bytes() for path in sorted((REAL / "wfdb").glob("*/*.hea"))[::40]) if REAL.is_dir() else ()
    yield Target("wfdb-header", run_header, (UnreadableFile,), (whole, *map(str.encode, WFDB_HEADERS), *real))
    begun = tuple(bytes([place]) + bytes(range(256)) * 8 for place in range(len(WFDB_HEADERS)))
    yield Target("wfdb-signals", run_signals, (UnreadableFile,), begun)


def of_other_formats():
    """Return the target of whatever no reader of ours recognises."""
    path = scratch_folder() / "fuzzed.ecg"

    def run(content):
        path.write_bytes(content)
        follow(read_ecg(path))

    taken = [known.recognise for known in FORMATS]
    seeds = tuple(each for each in contents() if not any(recognise(each[:HEAD_BYTES]) for recognise in taken))
    return Target("other-formats", run, (UnreadableFile,), seeds)


def of_codec():
    """Return the target of the decoder of a record's value."""
    steps = np.arange(12 * 50, dtype="<i2").tobytes()
    record = EcgRecord(record_id="r", leads=LEADS, sample_rate_hz=500.0, microvolts_per_step=5.0, samples=steps)
    made = [encode_ecg(record), encode_ecg(record, compress=False), encode_ecg(record, schema_id=7)]
    golden = [path.read_bytes() for path in sorted(GOLDEN.glob("*.avro"))]
    return Target("codec", decode_ecg, (RecordError, TransientError), (*made, *golden))


def of_the_stream():
    """Yield the targets of the gate, of all that the dashboard reads from Kafka, and of the cines in Redis."""
    yield Target("gate-and-intake", check_intake, (), SEEDS)
    yield Target("dashboard-messages", check_messages, (), message_seeds())
    yield Target("cines-in-redis", check_cine, (), cine_seeds())

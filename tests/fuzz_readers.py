"""`make fuzz READER=dicom MINUTES=10`: a coverage-guided search for what a reader does not take as it promises.

Findings are: an exception that the reader does not promise, an error that says a Python message, more than 5 s for one
content, more than 2 GiB of memory. The last line is JSON: executions, coverage and the findings. The exit code is 1
where something was found. The corpus and the findings are kept in a folder outside the repository.

The process that finds (`atheris`, libFuzzer) ends at what it cannot survive, so this one watches over it.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path

import platformdirs
from fuzz_json import changed_json, is_json
from fuzz_xml import changed, is_xml

SLOW_S = 5.0
STUCK_S = 30
MAX_RSS_MIB = 2048
MAX_INPUT_BYTES = 256 * 1024
MAX_FINDINGS = 50
MAX_WORDS = 400
INSTRUMENTED = [
    *("inference.reading", "inference.lead_names", "inference.intake", "inference.gate", "inference.stretch"),
    *("inference.bridge", "inference.fhir", "stream.broker", "stream.dashboard", "stream.cines.store"),
    *("schemas", "ecgdatakit.parsing", "pydicom", "wfdb.io"),
]
ENDED = {70: "stuck", 71: "memory", 77: "crash"}
"""What libFuzzer means by its exit codes; a signal's number is negative."""
PROGRESS = re.compile(r"#(\d+)\s.*?cov: (\d+) ft: (\d+)(?: corp: (\d+))?")
WORD = re.compile(rb"[A-Za-z_][A-Za-z_:0-9/-]{3,23}")


def main():
    """Run the watcher, or the finder in a process of its own."""
    options = parsed_options()
    if options.finder:
        find(options.reader, options.corpus, options.seconds, options.runs)
    found = 0
    for name in chosen(options.reader):
        result = watch(name, options)
        print(json.dumps(result), flush=True)
        found += len(result["findings"])
    sys.exit(1 if found else 0)


def parsed_options():
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reader", help="a target's name or a part of it that no other has; 'all' takes each in turn")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--corpus", type=Path, default=platformdirs.user_cache_path("cardiacnets-fuzz"))
    parser.add_argument("--runs", type=int, default=-1, help="end after so many executions")
    parser.add_argument("--finder", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


# --- the watcher -----------------------------------------------------------------------------------------------------


def watch(name, options):
    """Run finders of a target until the time is over, and return what they found."""
    folder = options.corpus / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    begun, executions, coverage, features = time.monotonic(), 0, 0, 0
    ended = []
    while (left_s := options.minutes * 60 - (time.monotonic() - begun)) > 1:
        runs, covered, featured, code = run_finder(name, options, max(1, round(left_s)))
        executions, coverage, features = executions + runs, max(coverage, covered), max(features, featured)
        if code:
            ended.append({"kind": ENDED.get(code, f"ended with {code}"), "input": newest_artifact(folder)})
        if code == 0 or len(ended) >= MAX_FINDINGS or (not runs and len(ended) > 1):
            break
    seconds = time.monotonic() - begun
    return {
        "reader": name,
        "seconds": round(seconds, 1),
        "executions": executions,
        "executions_per_s": round(executions / seconds, 1),
        "coverage": coverage,
        "features": features,
        "corpus": len(list((folder / "corpus").iterdir())),
        "findings": [*noted_findings(folder, begun_at=time.time() - seconds), *ended],
    }


def chosen(reader):
    """Return the names of the targets that are meant, or end with the names that there are."""
    from fuzz_targets import targets

    names = sorted(targets())
    if reader == "all":
        return names
    meant = [name for name in names if name == reader] or [name for name in names if reader in name]
    if len(meant) != 1:
        sys.exit(f"READER is all, or one of these: {', '.join(names)}")
    return meant


def run_finder(name, options, seconds):
    """Return executions, coverage, features and exit code of one finder."""
    command = [sys.executable, __file__, name, "--finder", "--corpus", str(options.corpus)]
    command += ["--seconds", str(seconds), "--runs", str(options.runs)]
    runs = covered = featured = 0
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as finder:
        for line in finder.stderr:
            if progress := PROGRESS.search(line):
                runs, covered, featured = (int(number) for number in progress.groups()[:3])
            elif not line.startswith(("INFO:", "#")):
                print(line, end="", file=sys.stderr)
        return runs, covered, featured, finder.wait(timeout=60)


def newest_artifact(folder):
    """Return the input at which a finder ended."""
    found = [
        path for path in folder.glob("*-*") if path.is_file() and path.name.split("-")[0] in {"timeout", "oom", "crash"}
    ]
    return str(max(found, key=lambda path: path.stat().st_mtime)) if found else None


def noted_findings(folder, begun_at):
    """Return what finders of this run have noted."""
    notes = [path for path in sorted(folder.glob("finding-*.json")) if path.stat().st_mtime >= begun_at - 1]
    return [json.loads(path.read_text(encoding="utf-8")) for path in notes]


# --- the finder ------------------------------------------------------------------------------------------------------


def find(name, root, seconds, runs):
    """Feed one target until the time is over; does not return."""
    import atheris

    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz_targets import targets
    target = targets()[name]
    folder = root / name
    write_seeds(target, folder / "corpus")
    words = write_words(target, folder / "words.dict")
    notes = Notes(folder)

    def feed(content):
        if finding := examine(target, content):
            notes.note(finding, content)

    flags = [f"-max_total_time={seconds}", f"-timeout={STUCK_S}", f"-rss_limit_mb={MAX_RSS_MIB}", f"-runs={runs}"]
    flags += [f"-max_len={MAX_INPUT_BYTES}", f"-artifact_prefix={folder}/", f"-dict={words}", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *flags, str(folder / "corpus")], feed, **changer_for(target.seeds))
    atheris.Fuzz()


def changer_for(seeds):
    """Return what changes contents as these seeds are written, or nothing where libFuzzer does well by itself."""
    for is_so, change in ((is_xml, changed), (is_json, changed_json)):
        if all(map(is_so, seeds)):
            return {"custom_mutator": change}
    return {}


def examine(target, content, slow_s=SLOW_S):
    """Return what is wrong with how the target takes a content, or None."""
    begun = time.process_time()
    try:
        target.run(content)
    except target.allowed as error:
        if said := python_message(error):
            return {"kind": "python message", "error": said, "where": place_of(error)}
    except Exception as error:
        return {"kind": "exception", "error": f"{type(error).__name__}: {error}"[:300], "where": place_of(error)}
    took_s = time.process_time() - begun
    return {"kind": "slow", "error": f"{took_s:.1f} s", "where": ""} if took_s > slow_s else None


def python_message(error):
    """Return what an error says, if that is Python's words and not ours."""
    from fuzz_targets import PYTHON_MESSAGE

    said = getattr(error, "detail", str(error))
    return said[:300] if PYTHON_MESSAGE.search(said) else None


def place_of(error):
    """Return the file and line at which an error, or what it came from, was raised."""
    while error.__cause__ is not None:
        error = error.__cause__
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return " < ".join(dict.fromkeys(f"{Path(frame.filename).name}:{frame.lineno}" for frame in (frames[-1], ours[-1])))


class Notes:
    """Notes each kind of finding once, with its content beside it."""

    def __init__(self, folder):
        self.folder = folder
        self.known = set()

    def note(self, finding, content):
        """Write a finding down, if it is the first of its kind."""
        kind = (
            finding["kind"],
            finding["error"].split(":")[0] if finding["kind"] == "exception" else "",
            finding["where"],
        )
        if kind in self.known or len(self.known) >= MAX_FINDINGS:
            return
        self.known.add(kind)
        stem = "finding-" + hashlib.sha256(repr(kind).encode()).hexdigest()[:12]
        (self.folder / f"{stem}.bin").write_bytes(content)
        noted = {**finding, "input": str(self.folder / f"{stem}.bin")}
        (self.folder / f"{stem}.json").write_text(json.dumps(noted), encoding="utf-8")
        print(json.dumps(noted), file=sys.stderr, flush=True)


def write_seeds(target, corpus):
    """Put the target's seeds into the corpus, each once."""
    for seed in target.seeds:
        (corpus / f"seed-{hashlib.sha256(seed).hexdigest()[:16]}").write_bytes(seed)


def write_words(target, path):
    """Write the words of the seeds as libFuzzer's dictionary: names of elements, of leads, of units."""
    words = sorted({word for seed in target.seeds for word in WORD.findall(seed[:16384].replace(b"\0", b""))})
    chosen_words = words[:: max(1, len(words) // MAX_WORDS)]
    path.write_text("".join(f'"{word.decode()}"\n' for word in chosen_words) or '"ECG"\n', encoding="ascii")
    return path


if __name__ == "__main__":
    main()

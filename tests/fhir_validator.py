"""HAPI's validator for FHIR R4, from ../shared/fhir, with our published codes.

`python tests/fhir_validator.py BUNDLES` prints how often it finds what, in a file of Bundles, one a line.
"""

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from inference.fhir_code_system import code_resources

JARS = Path(__file__).parents[2] / "shared" / "fhir" / "jars"
VALIDATOR = Path(__file__).with_name("ValidateFhir.java")
QUICK_START = ("-Xmx1g", "-XX:TieredStopAtLevel=1")
UNKNOWN_HERE = ("http://loinc.org", "http://snomed.info/sct", "report-codes")
"""Systems whose lists are not HL7's: no validator has them by itself."""


class Finding(NamedTuple):
    """What the validator says: the line, how grave, where, and what."""

    line: int
    severity: str
    place: str
    words: str


def findings(resources, folder):
    """Return what the validator finds in each of the resources; skip where it is not there."""
    java = shutil.which("java")
    if not JARS.exists():
        pytest.skip("needs HAPI's validator: put its jars into ../shared/fhir/jars")
    if java is None:
        pytest.skip("there is no Java to run HAPI's validator with: apt-get install openjdk-17-jdk-headless")
    for name, lines in (("codes", code_resources()), ("bundles", resources)):
        (folder / name).write_bytes(b"\n".join(map(msgspec.json.encode, lines)))
    command = [java, *QUICK_START, "-cp", f"{JARS}/*", VALIDATOR, folder / "codes", folder / "bundles"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return [Finding(int(line), *rest) for line, *rest in rows if rest[0] != "INFORMATION"]


def is_expected(finding):
    """Return whether a finding is a warning that stays: codes whose lists HAPI does not have."""
    return finding.severity == "WARNING" and any(system in finding.words for system in UNKNOWN_HERE)


def main():
    """Print what is found, and how often."""
    resources = [msgspec.json.decode(line) for line in Path(sys.argv[1]).read_bytes().splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        found = findings(resources, Path(folder))
    for (severity, words), count in Counter((each.severity, each.words[:100]) for each in found).most_common():
        print(f"{count:6d} {severity:8s} {words}")
    print(f"{len(resources)} resources, {Counter(each.severity for each in found)}")


if __name__ == "__main__":
    main()

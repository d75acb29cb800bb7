"""Holds the licences of an SBOM against those that may be delivered: python -m supply.licences SBOM.

It ends with 1 where a licence is not among them, so that nobody delivers a GPL library unawares.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ALLOWED = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0",
        "Python-2.0", "Zlib",
        "License :: OSI Approved :: Apache Software License",
        "License :: OSI Approved :: BSD License",
        "License :: Repoze Public License",  # BSD's, with a name that may not be used in advertising
    }
)  # fmt: skip
SEEN = {
    "certifi": "MPL-2.0: a list of certificates, delivered as it came",
    "protobuf": "BSD-3-Clause, which it calls by another name",
    "soundfile": "BSD-3-Clause; it brings libsndfile, LGPL-2.1, which is linked dynamically",
    "wfdb": "MIT, says its LICENSE file",
}
"""Packages whose licences somebody has read, as they are not to be told from what the package says of itself."""


def main() -> int:
    """Return 0, or 1 after saying what may not be delivered."""
    bom = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    refused = list(refused_components(bom))
    for name, licences in refused:
        said = ", ".join(licences) or "no licence"
        print(f"{name}: {said}; read it, and name it in supply/licences.py if it may be delivered", file=sys.stderr)
    print(f"{len(bom['components'])} components, {len(refused)} of them refused")
    return 1 if refused else 0


def refused_components(bom: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the licences of each component that may not be delivered."""
    for component in bom["components"]:
        licences = [_word(entry) for entry in component.get("licenses", ())]
        if component["name"] not in SEEN and not (licences and all(map(is_allowed, licences))):
            yield component["name"], licences


def is_allowed(licence: str) -> bool:
    """Return whether what is under this licence may be delivered; of alternatives one is enough."""
    if licence in ALLOWED:
        return True
    choices = re.split(r"\s+OR\s+", licence.strip("()"))
    return any(all(one.strip("() ") in ALLOWED for one in re.split(r"\s+AND\s+", choice)) for choice in choices)


def _word(entry: Mapping[str, Any]) -> str:
    named = entry.get("license", {})
    return str(entry.get("expression") or named.get("id") or named.get("name"))


if __name__ == "__main__":
    sys.exit(main())

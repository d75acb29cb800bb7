"""What some tests need and not every machine has: such a test is skipped, with the reason and what would bring it.

A reason reads "needs WHAT: HOW TO BRING IT" (see skips.py).
"""

from importlib.util import find_spec
from pathlib import Path

import pytest

from engines.catalog import CATALOG, ENGINES
from engines.nvidia import find_gpus

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ECGS = DATA / "ecg"
CHROMIUM = Path("/usr/bin/chromium")

needs_real_ecgs = pytest.mark.skipif(
    not ECGS.is_dir(), reason=f"needs the developers' real ECGs at {ECGS}: copy shared/data from another checkout"
)
needs_chromium = pytest.mark.skipif(
    not CHROMIUM.exists(), reason="needs Debian's chromium: apt-get install chromium (`make test` does so as root)"
)
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs ray: pip install 'cardiacnets[ray]'")


def needs_engine(name):
    """Return the mark of a test of that engine."""
    entry = CATALOG[name]
    if not find_spec(entry.library):
        return pytest.mark.skip(reason=f"needs {entry.library}: pip install {entry.install}")
    return pytest.mark.skipif(
        entry.device == "gpu" and not find_gpus(), reason="needs an NVIDIA GPU: run `make gpu-check` where there is one"
    )


def each_engine(*, but=()):
    """Return the parameters of a test of each engine."""
    return [pytest.param(name, marks=needs_engine(name)) for name in ENGINES if name not in but]

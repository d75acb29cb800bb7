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
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")

needs_real_ecgs = pytest.mark.skipif(
    not ECGS.is_dir(), reason=f"needs the developers' real ECGs at {ECGS}: copy shared/data from another checkout"
)
needs_chromium = pytest.mark.skipif(
    not CHROMIUM.exists(), reason="needs Debian's chromium: apt-get install chromium (`make test` does so as root)"
)
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs ray: pip install 'cardiacnets[ray]'")


NO_GPU = "needs an NVIDIA GPU: run the tests where there is one"
ON_GPUS = tuple(name for name in ENGINES if CATALOG[name].device == "gpu")


def needs_engine(name):
    """Return the mark of a test of that engine."""
    entry = CATALOG[name]
    if entry.device == "gpu" and not find_gpus():
        return pytest.mark.skip(reason=NO_GPU)
    return pytest.mark.skipif(
        not find_spec(entry.library), reason=f"needs {entry.library}: pip install {entry.install}"
    )


def needs_library(module, extra):
    """Return the mark of a test that needs what an extra of ours installs."""
    return pytest.mark.skipif(not find_spec(module), reason=f"needs {module}: pip install 'cardiacnets[{extra}]'")


def each_engine(*, but=()):
    """Return the parameters of a test of each engine; where there is no GPU, one for all the engines of a GPU."""
    asked = [name for name in ENGINES if name not in but]
    shown = [name for name in asked if find_gpus() or name not in ON_GPUS]
    engines = [pytest.param(name, marks=needs_engine(name)) for name in shown]
    if len(shown) < len(asked):
        engines.append(pytest.param(None, id="engines of a GPU", marks=pytest.mark.skip(reason=NO_GPU)))
    return engines

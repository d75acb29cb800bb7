"""Where the developers' real records lie, and how a test without them is skipped."""

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ECGS = DATA / "ecg"

needs_real_ecgs = pytest.mark.skipif(not ECGS.is_dir(), reason=f"real ECGs are not at {ECGS}")

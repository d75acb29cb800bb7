"""Small files of the binary formats, and of what `ecgdatakit` reads for us: seeds of the fuzzer."""

import numpy as np
from contec_files import contec
from edf_files import edf
from ishne_files import ishne
from mfer_files import PREAMBLE, frame, mfer
from other_files import kardia, mortara

STEPS = np.random.default_rng(0).integers(-200, 200, (12, 1000)).astype(np.int16)
"""Of 10 s at 100 Hz, the least that can be screened."""
SHORT = STEPS[:, :200]


def made():
    """Yield a content for each layout that a reader treats in a way of its own."""
    yield edf(STEPS, rate_hz=100)
    yield edf(STEPS, rate_hz=100, kind="EDF+D", starts=[*range(5), *(second + 0.1 for second in range(5, 10))])
    yield edf(SHORT, rate_hz=100, kind="EDF+C", starts=[0, 60])
    yield edf(SHORT, rate_hz=100, kind="BDF+D", bdf=True, starts=[0, 1])
    yield edf(SHORT, rate_hz=100, record_s=0.01, records=-1, physical=(5.0, -5.0), unit="uV")
    yield ishne(STEPS, rate_hz=100)
    yield ishne(SHORT, text=b"a comment", qualities=[2] * 12, checksum=1, announced=7)
    yield contec(np.tile(STEPS[:8], 8))
    yield contec(SHORT[:8], end=b"")
    yield mfer(STEPS, rate_hz=100)
    yield mfer(SHORT, order=">", indefinite=True, null=-1, offset=5, interval=b"")
    yield PREAMBLE + frame(SHORT[:6], codes=(1, 2, 61, 62, 63, 64), pointer=0) + frame(SHORT, kind="f4", type_code=7)
    yield kardia(SHORT)
    yield mortara(SHORT)

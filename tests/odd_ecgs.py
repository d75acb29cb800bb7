"""ECGs of odd shapes that bytes make, for the fuzzer and for Hypothesis; and what the intake promises of them."""

import msgspec
import numpy as np

from inference.intake import is_screened_whole, screened_part, take_in, usable_signals
from schemas.codec import decode_ecg, encode_ecg
from schemas.ecg_record import LEADS, MAX_STEP, MISSING_SAMPLE, EcgRecord
from schemas.errors import RecordError
from schemas.messages import Quality

MOST_SAMPLES = 12_000
OTHER_NAMES = ("avr", "Lead I", "MDC_ECG_LEAD_V1", "-aVR", "x", "v 1", "V7", "I-II", "\u202eI", "i\u0307")
RATES_HZ = (0.5, 99.9, 100.0, 100.4, 125.0, 128.0, 249.0, 250.0, 257.0, 333.3, 360.0, 499.99, 500.0, 977.0, 1000.0, 1e4)
STEPS_UV = (1e-300, 1e-9, 0.1, 1.0, 2.44, 5.0, 1e3, 1e6, 1e6 + 1, 1e300)
NOISE = (1.0, 30.0, 300.0, 30_000.0)
SEEDS = tuple(bytes([place * 37 % 256 for place in range(start, start + 40)]) for start in range(8))


class Choices:
    """Takes choices from bytes, one after the other; where the bytes have ended, always the first."""

    def __init__(self, content):
        self._bytes = iter(content)

    def below(self, number):
        """Return 0 to `number` - 1."""
        drawn = int.from_bytes(bytes([next(self._bytes, 0), next(self._bytes, 0)]), "little")
        return drawn % number

    def of(self, values):
        """Return one of the values."""
        return values[self.below(len(values))]


def odd_ecgs(content):
    """Return one to four ECGs that bytes make, as far as the wire takes them."""
    choices = Choices(content)
    made = [_odd_ecg(choices, place) for place in range(1 + choices.below(4))]
    return [record for record in made if _travels(record)]


def _odd_ecg(choices, place):
    leads = LEADS
    if choices.below(3) == 2:
        names = (*LEADS, *OTHER_NAMES)
        leads = tuple(dict.fromkeys(choices.of(names) for _ in range(1 + choices.below(14))))
    rate_hz, step_uv = choices.of(RATES_HZ), choices.of((5.0, 5.0, *STEPS_UV))
    seconds = 10 if choices.below(2) else choices.below(25) / 2
    samples = max(1, int(min(seconds * rate_hz, MOST_SAMPLES)) + choices.below(5) - 2)
    steps = _odd_steps(choices, len(leads), samples, rate_hz)
    return EcgRecord(
        record_id=f"r{place}",
        leads=leads,
        sample_rate_hz=rate_hz,
        microvolts_per_step=step_uv,
        samples=steps.clip(MISSING_SAMPLE, MAX_STEP).astype("<i2").tobytes(),
        paced=choices.of((None, True, False)),
    )


def _odd_steps(choices, leads, samples, rate_hz):
    rng = np.random.default_rng(choices.below(1000))
    steps = rng.standard_normal((leads, samples)) * choices.of(NOISE)
    beats = 300 * np.sin(np.arange(samples) / rate_hz * np.pi * 1.1) ** 30 * rng.uniform(-1, 1, (leads, 1))
    match choices.below(9):
        case 1:
            steps[:] = 0
        case 2:
            steps = beats + steps * 0.01
        case 3:
            steps[:] = MISSING_SAMPLE
        case 4:
            steps[:, : samples // 2] = MISSING_SAMPLE
        case 5:
            steps[0] = MISSING_SAMPLE
        case 6:
            steps[:, ::2], steps[:, 1::2] = MAX_STEP, -MAX_STEP
        case 7:
            steps = np.round(steps / 1000) * 1000
        case 8:
            steps = 10 * beats + steps * 0.1
    for _ in range(choices.below(4)):
        start, stop = sorted((choices.below(samples), choices.below(samples)))
        steps[choices.below(leads), start : min(stop, start + choices.below(samples) + 1)] = MISSING_SAMPLE
    return steps


def _travels(record):
    try:
        return decode_ecg(encode_ecg(record)) == record
    except RecordError:
        return False


def check_intake(content):
    """Hold the intake of the ECGs that bytes make to its promises. An error is a fault of ours."""
    if not (records := odd_ecgs(content)):
        return
    together = take_in(records, 3)
    assert np.isfinite(together.inputs).all()
    assert len(together.inputs) == sum(isinstance(outcome, Quality) for outcome in together.outcomes)
    for record, outcome in zip(records, together.outcomes, strict=True):
        (alone,) = take_in([record], 3).outcomes
        assert said(alone) == said(outcome), "neighbours make a difference"
        if isinstance(outcome, Quality):
            _check_screened(record, outcome)
        else:
            assert not _usable(record)


def _check_screened(record, quality):
    assert msgspec.json.decode(msgspec.json.encode(quality), type=Quality) == quality
    assert _usable(record)
    part = screened_part(record)
    assert is_screened_whole(record) == (part == record)
    assert part.n_samples <= 10 * record.sample_rate_hz + 1
    assert screened_part(decode_ecg(encode_ecg(part))) == part
    np.testing.assert_array_equal(usable_signals(part), usable_signals(record))


def _usable(record):
    try:
        return np.isfinite(usable_signals(record)).all()
    except RecordError:
        return False


def said(outcome):
    """Return everything that an outcome says, so that two can be compared."""
    if isinstance(outcome, Quality):
        return msgspec.json.encode(outcome)
    return outcome.wire_code, str(outcome), outcome.numbers, outcome.record_id

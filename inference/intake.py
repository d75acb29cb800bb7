"""Takes in a batch of ECGs: turns their integers into signals, asks the gate, and prepares the network's crops."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.ecg_record import LEADS, MISSING_SAMPLE, EcgRecord
from schemas.errors import MalformedRecord, RecordError, UnusableSignal
from schemas.messages import EcgMeasurement, Pacing, Quality
from schemas.record_limits import BYTES_PER_SAMPLE

from .bridge import bridge
from .ecg_measurements import measure_ecgs
from .gate import LIMITS, TOO_MUCH_MISSING, Verdict, check_extent, examine, miss_too_much
from .geometry import CROP_SAMPLES, RECORDED_RATE_HZ, RECORDED_SAMPLES
from .leads import arrange_leads, standard_name
from .measurement_doubts import doubt_measurements
from .pacing import MIN_RATE_HZ
from .recording_time_doubt import doubt_time
from .remarks import Elsewhere, remarks_on
from .sample_layout import find_wrong_layouts
from .stretch import Stretch, find_stretch
from .waveform import MAX_DURATION_S, preprocess

Outcome: TypeAlias = Quality | RecordError
RefusalT = TypeVar("RefusalT", bound=RecordError)
Layout: TypeAlias = tuple[tuple[str, ...], float, int]
"""Leads, rate and number of samples. Records that share them are processed together."""
Measurements: TypeAlias = tuple[EcgMeasurement, ...]
Part: TypeAlias = tuple[list[int], NDArray[np.float32], list[Measurements]]
"""The places of the accepted records in the batch, and the inputs and the measurements of these records."""

CHUNK_RECORDS = 16
"""Records that are taken in together. With this number, temporary arrays stay in the processor's cache."""
SIGNALS_NDIM = 3
"""Signals are (records, leads, samples). Crops have an axis more."""
MAX_STEP_UV = 1e6
"""One volt. A smaller step goes to the gate, which recognises a wrong gain."""


@dataclass(frozen=True, slots=True)
class Intake:
    """A batch after its intake.

    Attributes:
        outcomes: for each record, in order: its quality, or its refusal.
        inputs: (accepted, crops, 12, 2250) float32, the accepted records in order; or their signals in mV,
            (accepted, 12, 5000), if these were asked for.
        measurements: of each accepted record, in order.
    """

    outcomes: tuple[Outcome, ...]
    inputs: NDArray[np.float32]
    measurements: tuple[Measurements, ...]


def take_in(
    records: Sequence[EcgRecord], n_crops: int, now: datetime | None = None, *, as_signals: bool = False
) -> Intake:
    """Examine and preprocess a batch. A record that cannot be screened is refused and does not affect the others.

    Args:
        now: against which the times of recording are checked; None: the time of the call.
        as_signals: leave the preprocessing to the engine, if all accepted records last 10 s at 500 Hz.
    """
    now = now or datetime.now(UTC)
    alike: dict[Layout, list[int]] = defaultdict(list)
    outcomes: dict[int, Outcome] = {}
    for index, record in enumerate(records):
        if (refusal := _contradiction(record)) is not None:
            outcomes[index] = refusal
        else:
            alike[record.leads, record.sample_rate_hz, record.n_samples].append(index)
    parts: list[Part] = []
    for layout, indices in alike.items():
        alike_records = [records[index] for index in indices]
        taken, inputs, measured = _take_in_alike(alike_records, layout, n_crops, as_signals=as_signals)
        outcomes.update(zip(indices, taken, strict=True))
        parts.append(([index for index in indices if isinstance(outcomes[index], Quality)], inputs, measured))
    for index, elsewhere in _elsewhere(records, outcomes):
        record = records[index]
        layout = record.leads, record.sample_rate_hz, record.n_samples
        (outcomes[index],), inputs, measured = _take_in_alike(
            [record], layout, n_crops, elsewhere, as_signals=as_signals
        )
        parts.append(([index] if isinstance(outcomes[index], Quality) else [], inputs, measured))
    answers = tuple(_with_time_doubt(outcomes[index], record, now) for index, record in enumerate(records))
    by_place = dict(pair for indices, _, measured in parts for pair in zip(indices, measured, strict=True))
    return Intake(answers, _in_order(parts, n_crops), tuple(by_place[index] for index in sorted(by_place)))


def _with_time_doubt(outcome: Outcome, record: EcgRecord, now: datetime) -> Outcome:
    if isinstance(outcome, RecordError) or (doubt := doubt_time(record.recorded_at, now)) is None:
        return outcome
    return msgspec.structs.replace(outcome, warnings=(*outcome.warnings, doubt))


def _in_order(parts: Sequence[Part], n_crops: int) -> NDArray[np.float32]:
    """Return the inputs of all parts in the order of the records. Most batches have one part, which is not copied.

    Signals beside crops are preprocessed: the engine takes one kind of inputs at a time.
    """
    filled = [part for part in parts if part[0]]
    if len({part[1].ndim for part in filled}) > 1:
        filled = [(places, _as_crops(inputs, n_crops), measured) for places, inputs, measured in filled]
    if len(filled) == 1:
        return filled[0][1]
    if not filled:
        return np.empty((0, n_crops, len(LEADS), CROP_SAMPLES), np.float32)
    order = np.argsort(np.concatenate([indices for indices, _, _ in filled]))
    return np.asarray(np.concatenate([inputs for _, inputs, _ in filled])[order])


def _as_crops(inputs: NDArray[np.float32], n_crops: int) -> NDArray[np.float32]:
    return preprocess(inputs, RECORDED_RATE_HZ, n_crops) if inputs.ndim == SIGNALS_NDIM else inputs


def _elsewhere(records: Sequence[EcgRecord], outcomes: dict[int, Outcome]) -> Iterator[tuple[int, Elsewhere]]:
    """Yield the records that miss too many samples in their first 10 s, and where else they can be screened.

    The refusal of a record that can be screened nowhere is made to say so.
    """
    for index, outcome in list(outcomes.items()):
        if isinstance(outcome, UnusableSignal) and outcome.wire_code == TOO_MUCH_MISSING:
            record = records[index]
            stretch = find_stretch(_missing(record), record.sample_rate_hz)
            if stretch is not None:
                yield index, Elsewhere(stretch, outcome)
            else:
                outcomes[index] = _of_record(_nowhere(outcome), record)


def usable_signals(record: EcgRecord) -> NDArray[np.float32]:
    """Return the signals of one record that the gate accepts, for callers that keep signals and do not screen them.

    Returns:
        (12, samples) float32 in mV, in the order of `LEADS`. They are the seconds that would be screened, with missing
        samples bridged.

    Raises:
        MalformedRecord: the record contradicts itself.
        UnusableSignal: the gate refuses the signals.
    """
    if (refusal := _contradiction(record)) is not None:
        raise refusal
    check_extent(record.n_samples, record.sample_rate_hz)
    stretch = screened_stretch(record)
    signals, _ = arrange_leads(_millivolts([record], stretch), record.leads)
    (verdict,) = examine(signals, record.sample_rate_hz)
    find_wrong_layouts([record], signals, [verdict])
    if verdict.refusal is not None:
        raise _of_record(verdict.refusal, record)
    return np.asarray(bridge(signals, record.sample_rate_hz)[0], np.float32)


def screened_stretch(record: EcgRecord) -> Stretch:
    """Return the samples of a record that are screened: the first 10 s, unless too many samples are missing in them.

    Raises:
        UnusableSignal: a lead is missing, or appears twice.
    """
    first = _first_seconds(record)
    steps = np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)[:, : first.stop]
    if steps.min(initial=0) != MISSING_SAMPLE:
        return first
    missing = _missing(record)
    if not miss_too_much(missing[:, : first.stop], record.sample_rate_hz).any():
        return first
    return find_stretch(missing, record.sample_rate_hz) or first


def screened_part(record: EcgRecord) -> EcgRecord:
    """Return the seconds and the leads of a record that are screened, without its remarks: what can be drawn of it.

    Whatever a device sends beside them is left out, so the result is bounded by its kind: 12 leads of 10 s.

    Raises:
        UnusableSignal: a lead is missing, or appears twice.
    """
    used = slice(*screened_stretch(record))
    rows = [row for row, name in enumerate(record.leads) if standard_name(name) is not None]
    steps = np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)
    leads = tuple(record.leads[row] for row in rows)
    return msgspec.structs.replace(record, leads=leads, samples=steps[rows, used].tobytes(), remarks=())


def drawable_part(record: EcgRecord) -> EcgRecord:
    """Return `screened_part`. Of a record that lacks a lead, or has one twice: its first 10 s, each lead once."""
    try:
        return screened_part(record)
    except UnusableSignal:
        names = [standard_name(name) for name in record.leads]
        rows = [names.index(name) for name in LEADS if name in names]
        steps = np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)
        samples = steps[rows, : _first_seconds(record).stop].tobytes()
        return msgspec.structs.replace(
            record, leads=tuple(record.leads[row] for row in rows), samples=samples, remarks=()
        )


def is_screened_whole(record: EcgRecord) -> bool:
    """Return whether `screened_part` of an accepted record is the record itself."""
    has_other_leads = any(standard_name(name) is None for name in record.leads)
    return not (record.remarks or has_other_leads) and screened_stretch(record) == Stretch(0, record.n_samples)


def _first_seconds(record: EcgRecord) -> Stretch:
    return Stretch(0, min(record.n_samples, round(MAX_DURATION_S * record.sample_rate_hz)))


def _missing(record: EcgRecord) -> NDArray[np.bool_]:
    """Return where samples are missing in the whole record, (12, samples). A derived lead misses what I and II miss."""
    signals, _ = arrange_leads(_millivolts([record], Stretch(0, record.n_samples)), record.leads)
    return np.asarray(np.isnan(signals[0]))


def _contradiction(record: EcgRecord) -> MalformedRecord | None:
    """Return the refusal of a record that contradicts itself or whose scale float32 cannot hold."""
    if not record.leads or len(record.samples) % (BYTES_PER_SAMPLE * len(record.leads)):
        return _named(MalformedRecord("the leads do not have equally many samples"), record)
    step_uv = record.microvolts_per_step
    if not 0 < step_uv <= MAX_STEP_UV:
        sentence = f"a step of {step_uv:g} µV is impossible: an ECG's step is above 0 and at most {MAX_STEP_UV:g} µV"
        return _named(MalformedRecord(sentence, microvolts_per_step=step_uv), record)
    return None


def _take_in_alike(
    records: Sequence[EcgRecord], layout: Layout, n_crops: int, elsewhere: Elsewhere | None = None, *, as_signals: bool
) -> tuple[list[Outcome], NDArray[np.float32], list[Measurements]]:
    """Return an outcome for each record, and the inputs and the measurements of the accepted records."""
    names, rate_hz, samples = layout
    outcomes: list[Outcome] = []
    measurements: list[Measurements] = []
    filled = 0
    try:
        check_extent(samples, rate_hz)
        stretch = elsewhere.stretch if elsewhere else _first_seconds(records[0])
        as_signals = as_signals and rate_hz == RECORDED_RATE_HZ and stretch.stop - stretch.start == RECORDED_SAMPLES
        row = (len(LEADS), RECORDED_SAMPLES) if as_signals else (n_crops, len(LEADS), CROP_SAMPLES)
        inputs = np.empty((len(records), *row), np.float32)
        for start in range(0, len(records), CHUNK_RECORDS):
            chunk = records[start : start + CHUNK_RECORDS]
            signals, derived = arrange_leads(_millivolts(chunk, stretch), names)
            verdicts = examine(signals, rate_hz)
            find_wrong_layouts(chunk, signals, verdicts)
            passed = [index for index, verdict in enumerate(verdicts) if verdict.refusal is None]
            accepted = bridge(signals if len(passed) == len(signals) else signals[passed], rate_hz)
            measured = measure_ecgs(accepted, rate_hz, [_is_paced(chunk[index], verdicts[index]) for index in passed])
            doubt_measurements([verdicts[index] for index in passed], measured)
            measurements += measured
            pairs = zip(chunk, verdicts, strict=True)
            outcomes += [_outcome(record, verdict, derived, elsewhere) for record, verdict in pairs]
            place = inputs[filled : filled + len(passed)]
            if as_signals:
                place[...] = accepted
            else:
                preprocess(accepted, rate_hz, n_crops, out=place)
            filled += len(passed)
    except UnusableSignal as refusal:  # of all: they have the same leads and the same length
        return [_of_record(refusal, record) for record in records], np.empty(0, np.float32), []
    return outcomes, inputs[:filled], measurements


def _outcome(record: EcgRecord, verdict: Verdict, derived: tuple[str, ...], elsewhere: Elsewhere | None) -> Outcome:
    if verdict.refusal is not None:
        return _of_record(verdict.refusal, record)
    return Quality(
        warnings=(*verdict.doubts, *remarks_on(record, derived, elsewhere)),
        sample_rate_hz=record.sample_rate_hz,
        duration_s=record.n_samples / record.sample_rate_hz,
        derived_leads=derived,
        pacing=_pacing(record, verdict),
    )


def _pacing(record: EcgRecord, verdict: Verdict) -> Pacing:
    if record.sample_rate_hz < MIN_RATE_HZ:
        return "not_assessable"
    return "seen" if _has_spikes(verdict) else "not_seen"


def _is_paced(record: EcgRecord, verdict: Verdict) -> bool:
    return bool(record.paced) or _has_spikes(verdict)


def _has_spikes(verdict: Verdict) -> bool:
    return any(doubt.code == "pacing_spikes" for doubt in verdict.doubts)


def _millivolts(records: Sequence[EcgRecord], stretch: Stretch) -> NDArray[np.float32]:
    """Return a stretch of records of one layout, (records, leads, samples) in mV. A missing sample is NaN."""
    used = slice(*stretch)
    steps = np.stack(
        [np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)[:, used] for record in records]
    )
    scales = np.array([record.microvolts_per_step / 1e3 for record in records], np.float32)
    signals = steps * scales[:, None, None]
    if steps.min() == MISSING_SAMPLE:  # the lowest int16: a minimum is found more quickly than all values that equal it
        signals[steps == MISSING_SAMPLE] = np.nan
    return np.asarray(signals, np.float32)


def _nowhere(refusal: UnusableSignal) -> UnusableSignal:
    sentence = f"{refusal.detail}, and no other stretch of {LIMITS.min_duration_s:g} s will do"
    return UnusableSignal(sentence, code="nan_run", record_id=None, **refusal.numbers)


def _of_record(refusal: UnusableSignal, record: EcgRecord) -> UnusableSignal:
    """Return a copy of the refusal that names the record. Other records may share the original."""
    again = UnusableSignal(refusal.detail, code=refusal.wire_code, record_id=record.record_id, **refusal.numbers)
    return _named(again, record)


def _named(refusal: RefusalT, record: EcgRecord) -> RefusalT:
    """Return the refusal after it was given the record's names."""
    refusal.record_id, refusal.device_id, refusal.site = record.record_id, record.device_id, record.site
    return refusal

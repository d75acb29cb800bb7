"""The screener: takes a batch of ECGs, and answers each ECG by a screening or a refusal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.catalog import rows_wanted
from engines.protocol import Engine
from schemas.codec import FindSchema, decode_ecg
from schemas.ecg_message import EcgMessage
from schemas.ecg_record import EcgRecord
from schemas.errors import CardiacNetsError, EngineFailed, RecordError, TransientError
from schemas.messages import EcgMeasurement, ModelReference, Quality
from schemas.writer_schema import shipped_schema

from .bundle import Bundle
from .eligibility import EligibilityRule
from .intake import take_in
from .readout import Finding, Readout
from .signals_engine import SignalsEngine
from .site_policy import MODEL_ALONE, SitePolicy
from .swap_detector import default_swap_detector
from .waveform import filter_operator

FREED_BYTES = 30 * 2**20
"""glibc returns the memory of every batch to the system, and asks for it again, until it has seen a block of this size
freed: half a millisecond a record."""


@dataclass(frozen=True, slots=True)
class Screening:
    """What a model found in one ECG.

    Attributes:
        quality: what the gate saw of the ECG, and what else is remarked.
        finding: what the network says; its risks say where the model may not be asked.
        model: the model that prepared and ran the ECG. The model goes with its answer, so an answer is never signed by
            another model, even if the worker changes models while the answer waits.
        measurements: rate, intervals and axes of the ECG.
    """

    record: EcgRecord
    quality: Quality
    finding: Finding
    model: ModelReference
    measurements: tuple[EcgMeasurement, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Why one ECG has no screening: an answer like a screening, which nobody raises.

    Attributes:
        record: the ECG; None if its bytes could not be decoded.
        error: the reason. After a `RecordError` the answer is final; after a `TransientError` another try may succeed.
    """

    record: EcgRecord | None
    error: CardiacNetsError


ScreenedOrRefused: TypeAlias = Screening | Refused


@dataclass(slots=True)
class ReceivedEcg:
    """An ECG as it came from the wire.

    Attributes:
        record: the decoded ECG; None before the first try, or if it cannot be decoded. A further try finds it here, and
            does not decode the message again.
        refusal: why there is nothing to decode, where the consumer has found that out.
    """

    message: EcgMessage
    record: EcgRecord | None = None
    refusal: RecordError | None = None


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch ready for the engine.

    Attributes:
        model: the model that the batch was prepared for.
        accepted: the ECGs that passed the gate, in order.
        outcomes: one entry an ECG of the batch: its quality, or its refusal.
        measurements: of each accepted ECG.
        inputs: (accepted × crops, 12, 2250) float32, standardised; or the signals in mV, (accepted, 12, 5000), where
            the engine preprocesses.
    """

    model: ModelReference
    accepted: tuple[EcgRecord, ...]
    outcomes: tuple[Quality | Refused, ...]
    measurements: tuple[tuple[EcgMeasurement, ...], ...]
    inputs: NDArray[np.float32]


class Screener:
    """Screens batches with one bundle on one engine; `prepare` and `run` may work in different threads.

    Args:
        find_schema: finds the schema of an ECG whose message names one; called in the thread of `prepare`.
        clock: tells the time against which the times of recording are checked; asked once a batch.
        site: what the site asks of an ECG beside what the bundle asks.

    Attributes:
        model: signs every answer.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        find_schema: FindSchema = shipped_schema,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        site: SitePolicy = MODEL_ALONE,
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.model = bundle.reference
        self._find_schema = find_schema
        self._clock = clock
        self._n_crops = bundle.manifest.input.n_crops
        self._readout = Readout(bundle.manifest)
        self._eligibility = EligibilityRule(bundle.manifest, site)

    @property
    def records_wanted(self) -> int:
        """How many records a batch should have for the device of the engine."""
        return max(1, rows_wanted(self.engine.name) // self._n_crops)

    def warm_up(self, max_batch: int) -> None:
        """Do the slow work of the first batch now."""
        np.empty(FREED_BYTES, np.uint8)
        filter_operator()
        default_swap_detector()
        self.engine.warm_up(max_batch * self._n_crops)

    def prepare_received(self, ecgs: Sequence[ReceivedEcg]) -> PreparedBatch:
        """Decode ECGs that came from the wire, and prepare them."""
        return self.prepare([self._decoded(ecg) for ecg in ecgs])

    def prepare(self, items: Sequence[EcgRecord | CardiacNetsError]) -> PreparedBatch:
        """Examine and preprocess a batch. An item that is an error already becomes a refusal."""
        records = [item for item in items if isinstance(item, EcgRecord)]
        intake = take_in(records, self._n_crops, self._clock(), as_signals=isinstance(self.engine, SignalsEngine))
        examined = zip(records, intake.outcomes, strict=True)
        outcomes = tuple(
            _outcome(*next(examined)) if isinstance(item, EcgRecord) else Refused(None, item) for item in items
        )
        pairs = zip(records, intake.outcomes, strict=True)
        accepted = tuple(record for record, outcome in pairs if isinstance(outcome, Quality))
        inputs = intake.inputs.reshape(-1, *intake.inputs.shape[-2:])
        return PreparedBatch(self.model, accepted, outcomes, intake.measurements, inputs)

    def run(self, batch: PreparedBatch) -> list[ScreenedOrRefused]:
        """Return the answer to each ECG of the batch, in order.

        Raises:
            EngineFailed: the engine failed for the whole batch.
            ValueError: the batch was prepared for another model.
        """
        if batch.model != self.model:
            raise ValueError(f"a batch for {batch.model.version} was given to the screener of {self.model.version}")
        findings = iter(self._findings(batch))
        accepted = zip(batch.accepted, batch.measurements, strict=True)
        return [
            self._answer(*next(accepted), outcome, next(findings)) if isinstance(outcome, Quality) else outcome
            for outcome in batch.outcomes
        ]

    def screen(self, items: Sequence[EcgRecord | CardiacNetsError]) -> list[ScreenedOrRefused]:
        """Prepare a batch and run it, in one call."""
        return self.run(self.prepare(items))

    def _decoded(self, ecg: ReceivedEcg) -> EcgRecord | CardiacNetsError:
        if ecg.refusal is not None:
            return ecg.refusal
        if ecg.record is None:
            try:
                ecg.record = decode_ecg(ecg.message.value, ecg.message.data_schema, self._find_schema)
            except (RecordError, TransientError) as error:
                return error
        return ecg.record

    def _findings(self, batch: PreparedBatch) -> Sequence[Finding | EngineFailed]:
        if not batch.accepted:
            return ()
        outputs = self.engine.run(batch.inputs)
        rows = len(batch.accepted) * self._n_crops
        for name, output in outputs.items():
            if len(output) != rows:
                raise EngineFailed(f"{self.engine.name} returned {len(output)} rows of {name}, not {rows}")
        return self._readout.read(outputs, self._n_crops)

    def _answer(
        self,
        record: EcgRecord,
        measurements: tuple[EcgMeasurement, ...],
        quality: Quality,
        finding: Finding | EngineFailed,
    ) -> ScreenedOrRefused:
        if isinstance(finding, EngineFailed):
            return Refused(record, finding)
        quality, finding = self._eligibility.judge(record, quality, finding)
        return Screening(record, quality, finding, self.model, measurements)


def _outcome(record: EcgRecord, outcome: Quality | RecordError) -> Quality | Refused:
    return outcome if isinstance(outcome, Quality) else Refused(record, outcome)

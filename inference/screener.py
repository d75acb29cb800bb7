"""The screener: a batch of ECGs in, a screening or a refusal for each out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.protocol import Engine
from schemas.codec import FindSchema, decode_ecg
from schemas.ecg_message import EcgMessage
from schemas.ecg_record import EcgRecord
from schemas.errors import CardiacNetsError, EngineFailed, RecordError, TransientError
from schemas.messages import Quality
from schemas.writer_schema import shipped_schema

from .bundle import Bundle
from .intake import take_in
from .readout import Finding, Readout
from .waveform import filter_operator


@dataclass(frozen=True, slots=True)
class Screening:
    """What the network found in one ECG, and what the gate saw of it."""

    record: EcgRecord
    quality: Quality
    finding: Finding


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch ready for the engine.

    Attributes:
        accepted: the ECGs that passed the gate, in order.
        outcomes: one entry an ECG of the batch: its quality, or why it cannot be screened.
        inputs: (accepted × crops, 12, 2250) float32, standardised.
    """

    accepted: tuple[EcgRecord, ...]
    outcomes: tuple[Quality | CardiacNetsError, ...]
    inputs: NDArray[np.float32]


ScreenedOrRefused: TypeAlias = Screening | CardiacNetsError


class Screener:
    """Screens batches with one bundle on one engine; `prepare` and `run` may work in different threads.

    Args:
        find_schema: finds the schema of an ECG that names the one it was written by; called in the thread of `prepare`.
    """

    def __init__(self, bundle: Bundle, engine: Engine, find_schema: FindSchema = shipped_schema) -> None:
        self.bundle = bundle
        self.engine = engine
        self._find_schema = find_schema
        self._n_crops = bundle.manifest.input.n_crops
        self._readout = Readout(bundle.manifest)

    def warm_up(self, max_batch: int) -> None:
        """Do now what the first batch would otherwise be slow for."""
        filter_operator()
        self.engine.warm_up(max_batch * self._n_crops)

    def prepare_messages(self, messages: Sequence[EcgMessage]) -> PreparedBatch:
        """Decode and prepare ECGs as they came from the wire."""
        return self.prepare([self._decoded(message) for message in messages])

    def prepare(self, items: Sequence[EcgRecord | CardiacNetsError]) -> PreparedBatch:
        """Examine and preprocess a batch; an item that is an error already stays one."""
        records = [item for item in items if isinstance(item, EcgRecord)]
        intake = take_in(records, self._n_crops)
        seen = iter(intake.outcomes)
        outcomes = tuple(next(seen) if isinstance(item, EcgRecord) else item for item in items)
        pairs = zip(records, intake.outcomes, strict=True)
        accepted = tuple(record for record, outcome in pairs if isinstance(outcome, Quality))
        return PreparedBatch(accepted, outcomes, intake.inputs.reshape(-1, *intake.inputs.shape[2:]))

    def run(self, batch: PreparedBatch) -> list[ScreenedOrRefused]:
        """Return a screening or an error for each ECG of the batch, in order.

        Raises:
            EngineFailed: the engine failed for the whole batch.
        """
        findings = iter(self._findings(batch))
        records = iter(batch.accepted)
        return [
            _screening(next(records), outcome, next(findings)) if isinstance(outcome, Quality) else outcome
            for outcome in batch.outcomes
        ]

    def screen(self, items: Sequence[EcgRecord | CardiacNetsError]) -> list[ScreenedOrRefused]:
        """Prepare and run, for those who have no stream."""
        return self.run(self.prepare(items))

    def _decoded(self, message: EcgMessage) -> EcgRecord | CardiacNetsError:
        try:
            return decode_ecg(message.value, message.data_schema, self._find_schema)
        except (RecordError, TransientError) as error:
            return error

    def _findings(self, batch: PreparedBatch) -> Sequence[Finding | EngineFailed]:
        if not batch.accepted:
            return ()
        outputs = self.engine.run(batch.inputs)
        for name, output in outputs.items():
            if len(output) != len(batch.inputs):
                raise EngineFailed(f"{self.engine.name} returned {len(output)} rows of {name}, not {len(batch.inputs)}")
        return self._readout.read(outputs, self._n_crops)


def _screening(record: EcgRecord, quality: Quality, finding: Finding | EngineFailed) -> Screening | EngineFailed:
    return finding if isinstance(finding, EngineFailed) else Screening(record, quality, finding)

"""BentoML as its documentation has it: one worker, adaptive batching over lists of files, as for its image models.

Its JSON of an array of this size would take more processor than the network, and its pickles are refused from outside.
"""

from pathlib import Path

import bentoml
import numpy as np
from peer_network import Network, number

LONGEST_MS = 30_000
"""BentoML chooses the wait itself, below this; a request that would take longer is refused."""


@bentoml.service(
    workers=1,
    traffic={"timeout": 60, "concurrency": number("BATCH")},
    logging={"access": {"enabled": False}},
)
class Screen:
    """Answers batches."""

    def __init__(self) -> None:
        self._network = Network()

    @bentoml.api(batchable=True, max_batch_size=number("BATCH"), max_latency_ms=LONGEST_MS)
    def predict(self, files: list[Path]) -> np.ndarray:
        """Return an answer to each file."""
        answers = self._network.answer([file.read_bytes() for file in files])
        return np.stack([np.frombuffer(answer, np.float32) for answer in answers])

"""The network behind every peer's server: the bundle's graph on ONNX Runtime, opened as ours is.

A peer's server runs in a virtual environment of its own, without this project. The environment names the graph
(`PEER_GRAPH`), the threads (`PEER_THREADS`), the port (`PEER_PORT`), the most records a batch (`PEER_BATCH`), a folder
(`PEER_FOLDER`), and the file that says how many batches of how many records there were (`PEER_COUNTS`).
"""

import json
import os
import time
from pathlib import Path

import numpy as np

WAIT_MS = 10
"""How long a batch may wait to become full."""
NOTED_S = 0.5


def number(name):
    """Return a number of the environment."""
    return int(os.environ[f"PEER_{name}"])


class Network:
    """Answers a list of finished records, each the bytes of (crops, 12, samples) float32, in one call."""

    def __init__(self):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = number("THREADS")
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(os.environ["PEER_GRAPH"], options, ["CPUExecutionProvider"])
        (source,) = self._session.get_inputs()
        self._input, self._row = source.name, source.shape[1:]
        self._output = self._session.get_outputs()[0].name
        self._batches, self._records, self._noted = 0, 0, 0.0

    def answer(self, bodies):
        """Return the first output for each record, as bytes."""
        rows = np.concatenate([np.frombuffer(body, np.float32).reshape(-1, *self._row) for body in bodies])
        self._count(len(bodies))
        (answers,) = self._session.run([self._output], {self._input: rows})
        return [part.tobytes() for part in np.split(answers, len(bodies))]

    def _count(self, records):
        self._batches, self._records = self._batches + 1, self._records + records
        if time.monotonic() - self._noted > NOTED_S:
            self._noted = time.monotonic()
            Path(os.environ["PEER_COUNTS"]).write_text(json.dumps([self._batches, self._records]))

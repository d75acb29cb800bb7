"""A cmr-worker that draws slowly and writes down what it draws: `python tests/slow_cine_worker.py`.

Settings from the environment, and DRAWING_S and DRAWN_LOG: one line a cine, at the beginning of its drawing.
"""

import os
import time
from pathlib import Path

from fake_generator import FakeGenerator

from stream.cines.worker import serve_cines
from stream.logs import configure_logs
from stream.settings import load_settings


class SlowGenerator(FakeGenerator):
    """The fake one, but slow."""

    def __init__(self, seconds, log):
        super().__init__()
        self._seconds, self._log = seconds, log

    def draw(self, embeddings, seeds):
        with self._log.open("a") as file:
            file.writelines(f"{os.getpid()} {seed}\n" for seed in seeds)
        time.sleep(self._seconds)
        return super().draw(embeddings, seeds)


if __name__ == "__main__":
    seconds, drawn = float(os.environ.pop("DRAWING_S")), Path(os.environ.pop("DRAWN_LOG"))
    settings = load_settings(os.environ)
    configure_logs(settings.process.log_level, settings.process.log_format)
    serve_cines(settings, SlowGenerator(seconds, drawn))

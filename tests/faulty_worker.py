"""A worker whose engine raises now and then: `python tests/faulty_worker.py`, settings from the environment."""

import os

from inference.screener import Screener
from schemas.errors import EngineFailed
from stream.logs import configure_logs
from stream.screening.model import load_screener
from stream.screening.worker import serve
from stream.settings import load_settings


class FaultyEngine:
    """A real engine that fails every third batch, and always for an input whose first value is its victim's."""

    def __init__(self, engine, victim):
        self._engine, self._victim, self._calls = engine, victim, 0
        self.name, self.output_names = engine.name, engine.output_names
        self.warm_up, self.close = engine.warm_up, engine.close

    def run(self, inputs):
        self._calls += 1
        if self._calls % 3 == 0:
            raise EngineFailed("every third batch fails")
        if self._victim and any(abs(float(row[0, 0]) - self._victim) < 1e-6 for row in inputs):
            raise EngineFailed("this record fails every time")
        return self._engine.run(inputs)


if __name__ == "__main__":
    victim = float(os.environ.pop("VICTIM", "0"))
    settings = load_settings(os.environ)
    configure_logs(settings.process.log_level, settings.process.log_format)
    screener = load_screener(settings.model, max_batch=settings.screening.max_batch)
    serve(settings, Screener(screener.bundle, FaultyEngine(screener.engine, victim)))

"""A generator as far as the cmr-worker sees it: a pattern by embedding and seed, in no time."""

import numpy as np

from inference.cine import CineGeometry
from schemas.errors import EngineFailed
from schemas.messages import ModelReference


class FakeGenerator:
    """Draws stripes; `failures` calls fail first."""

    reference = ModelReference(name="fake-generator", version="1", trained=False, weights="none: a pattern")
    ecg_model = None
    geometry = CineGeometry(frames=10, rows=24, columns=24, pixel_mm=2.35)

    def __init__(self, failures=0):
        self.failures, self.drawn = failures, []
        self.closed = False

    def draw(self, embeddings, seeds):
        if self.closed:
            raise EngineFailed("closed")
        if self.failures:
            self.failures -= 1
            raise EngineFailed("told to fail")
        self.drawn.extend(seeds)
        cines = [self._cine(*pair) for pair in zip(embeddings, seeds, strict=True)]
        return np.array(cines, np.uint8).reshape(-1, *self.geometry.shape)

    def close(self):
        self.closed = True

    def _cine(self, embedding, seed):
        stripes = np.random.default_rng([seed, int(1000 * abs(float(embedding[0])))]).integers(
            0, 256, (24, 1), np.uint8
        )
        return np.stack([np.roll(np.repeat(stripes, 24, axis=1), shift, axis=0) for shift in range(10)])

"""An engine that answers zeros to whatever it is given, quickly and always."""

import numpy as np


class ZeroEngine:
    """Answers zeros, after whatever `before` does."""

    name = "zeros"

    def __init__(self, manifest, before=lambda: None):
        self._before = before
        self._sizes = {
            "disease_logits": len(manifest.diseases),
            "phenotypes": len(manifest.phenotypes),
            "subtype_logits": len(manifest.subtypes),
            "embedding": manifest.embedding_size,
        }

    def run(self, inputs):
        self._before()
        outputs = {name: np.zeros((len(inputs), size), np.float32) for name, size in self._sizes.items()}
        outputs["embedding"][:, 0] = 1
        return outputs

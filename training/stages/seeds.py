"""Sets the seed that all randomness of a stage begins with."""

from __future__ import annotations


def seed_stage(seed: int) -> None:
    """Seed Python, NumPy, torch and the loader's workers, so that the same settings give the same weights."""
    from lightning.pytorch import seed_everything

    seed_everything(seed, workers=True, verbose=False)

"""Opens the cine generator that the settings name, for all commands that draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.settings import Settings

if TYPE_CHECKING:
    from inference.generator import CineGenerator


def open_generator(settings: Settings) -> CineGenerator:
    """Return the generator, on the engine that is set.

    Raises:
        CorruptBundle: the folder does not match its manifest.
        EngineUnavailable: the engine is unknown or not here, or does not run the generator's graphs.
        EngineMismatch: a graph answers otherwise than when the generator was packaged.
    """
    from inference.generator import CineGenerator

    cines, options = settings.cines, settings.model.engine_options()
    return CineGenerator.load(cines.generator, engine=cines.engine, options=options)

"""The cine of `cardiacnets screen --cine`: drawn from one ECG file, without Kafka or Redis."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path

import numpy as np

from inference.cine import Cine
from inference.cine_files import cine_writer, write_cine
from inference.generator_manifest import check_embedding
from inference.reading.read_ecg import read_or_refuse
from inference.screener import Screener, Screening
from schemas.errors import InvalidSettings
from schemas.identity import cine_seed, report_id
from stream.cines.maker import Generator, compose_cine
from stream.cines.open_generator import open_generator
from stream.settings import Settings


def check_cine_request(files: Sequence[Path], out: Path) -> None:
    """Check, before anything is computed, what `screen --cine` is asked for.

    Raises:
        InvalidSettings: there is not one ECG file, or the file's name asks for a format that does not exist.
    """
    cine_writer(out)
    if len(files) != 1:
        raise InvalidSettings(f"--cine draws the cine of one ECG: give one file, not {len(files)}")
    if files[0].is_dir():
        raise InvalidSettings(f"--cine draws the cine of one ECG: {files[0]} is a folder, give a file of it")


def screen_cine(settings: Settings, screener: Screener, file: Path, out: Path, zone: tzinfo | None = None) -> None:
    """Draw the cine that an ECG file suggests and write it: the cine that a cmr-worker draws for a flagged ECG.

    Raises:
        RecordError: the ECG cannot be screened.
        CorruptBundle: the generator's folder does not match its manifest.
        ForeignEmbedding: the generator belongs to another model.
        InvalidSettings: the file cannot be written.
    """
    (outcome,) = screener.screen([read_or_refuse(file, zone)])
    if not isinstance(outcome, Screening):
        raise outcome.error
    generator = open_generator(settings)
    try:
        write_cine(draw_cine(generator, outcome), out)
    finally:
        generator.close()


def draw_cine(generator: Generator, screening: Screening) -> Cine:
    """Return the cine of one screening, with the seed that its record and its model have on the stream as well."""
    model, record_id = screening.model, screening.record.record_id
    check_embedding(generator.ecg_model, model)
    seed = cine_seed(record_id, model)
    (frames,) = generator.draw(np.asarray(screening.finding.embedding, np.float32)[None], [seed])
    return compose_cine(
        frames,
        generator,
        record_id=record_id,
        report_id=report_id(record_id, model),
        model=model,
        seed=seed,
        embedding=screening.finding.embedding.tolist(),
    )

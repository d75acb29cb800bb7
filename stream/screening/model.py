"""Loads the model that the settings name: verifies the bundle, chooses the engine, warms the screener up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from inference.bundle import default_bundle, load_bundle
from inference.open_engine_for_bundle import open_chosen_engine
from inference.screener import Screener
from schemas.codec import FindSchema
from schemas.writer_schema import shipped_schema
from stream.settings import ModelSettings

log = structlog.get_logger(__name__)


def load_screener(
    settings: ModelSettings,
    *,
    max_batch: int | None,
    find_schema: FindSchema = shipped_schema,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Screener:
    """Return a screener that is ready to answer at full speed.

    Args:
        settings: which model, and by which engine.
        max_batch: records a batch; None: as many as the device of the engine wants.
        find_schema: finds the schema of a record that names the one it was written by.
        clock: tells the time against which the times of recording are checked.

    Raises:
        DeploymentError: the bundle is corrupt, or no engine agrees with its reference.
    """
    bundle = load_bundle(settings.bundle or default_bundle())
    rows = max_batch * bundle.manifest.input.n_crops if max_batch else None
    engine = open_chosen_engine(bundle, settings.engine, settings.engine_options(), rows=rows)
    model = bundle.reference
    log.info("model_ready", model=model.name, version=model.version, trained=model.trained, engine=engine.name)
    screener = Screener(bundle, engine, find_schema, clock, settings.site_policy())
    screener.warm_up(max_batch or screener.records_wanted)
    return screener

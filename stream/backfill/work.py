"""What one process of a backfill does: it takes shards that nobody has, until all are done."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InvalidSettings
from stream.logs import configure_logs
from stream.screening.model import load_screener
from stream.settings import ModelSettings

from .claims import Claims
from .dataset import CLAIMS, find
from .shard import Reading, screen_shard

LOOK_AGAIN_S = 1.0
"""While others have the last shards in work: they may die, and then their claims end."""


@dataclass(frozen=True, slots=True)
class Work:
    """All that a process must know. It is sent to the process.

    Attributes:
        shards: the numbers of the shards, of which some may be done.
        claim_s: how long a claim lasts that is not touched.
    """

    folder: Path
    shards: Sequence[int]
    reading: Reading
    model: ModelSettings
    claim_s: float


def do_work(work: Work) -> int:
    """Screen shards until all of them are done, by this process or another. Return how many this process did.

    Raises:
        InvalidSettings: this machine does not see the dataset, or the archive.
        DeploymentError: the model cannot be loaded.
        EngineFailed: the engine failed for a shard again and again.
    """
    configure_logs("warning", "console")
    dataset = find(work.folder)
    if dataset is None:
        sentence = f"{work.folder} holds no backfill as {socket.gethostname()} sees it"
        raise InvalidSettings(f"{sentence}: it was removed, or this machine does not share the folder")
    if all(map(dataset.is_done, work.shards)):
        return 0
    work.reading.refuse_if_away()
    begun_at = dataset.made.created_at  # so that a doubt about a time does not depend on when its shard is done
    screener = load_screener(work.model, max_batch=work.reading.records_a_batch, clock=lambda: begun_at)
    claims, count = Claims(work.folder / CLAIMS, work.claim_s), 0
    while open_shards := [number for number in work.shards if not dataset.is_done(number)]:
        before = count
        for number in open_shards:
            with claims.claim(number) as is_ours:
                if is_ours and not dataset.is_done(number):
                    screen_shard(screener, dataset, number, work.reading)
                    count += 1
        if count == before:
            time.sleep(LOOK_AGAIN_S)
    return count

"""The backfill lane: an archive is answered, and takes nothing of the ward's Redis and cmr-workers unless told to."""

import asyncio

import pytest
from harness import collect, good_values, publish_values, ward
from redis import Redis
from waiting import wait_until

from engines.batcher import Lane
from schemas.topics import CMR_REQUESTS, ECG_ALERTS

COUNT = 40

pytestmark = pytest.mark.servers


def test_what_an_archive_may_have_of_redis_is_bounded_in_number(tmp_path, servers):
    bounds = {"backfill_waveforms_at_most": 2, "backfill_cines_at_most": 1, "backfill_ecg_ids": 5}
    with ward(tmp_path, servers) as there:
        there.start(backfill_waveforms=True, backfill_cines=True, **bounds)
        live = good_values(COUNT, seed=12)
        asyncio.run(publish_values(there.settings, good_values(COUNT, seed=11), Lane.BACKFILL))
        asyncio.run(publish_values(there.settings, live))
        answers = asyncio.run(collect(there.settings, until=lambda found: found.answered >= 2 * COUNT))
        flagged = {name for name, report in answers.reports.items() if any(risk.flagged for risk in report.risks)}
        assert len(flagged - live.keys()) > 2
        with Redis.from_url(there.settings.redis.url) as redis:
            wait_until(lambda: flagged & live.keys() <= kept_in(redis) and len(kept_in(redis) - live.keys()) >= 2, 0.1)
            there.stop()
            kept, others = kept_in(redis), kept_in(redis, "other:")
            ids = list(redis.scan_iter("*ecg-id:archive:*"))
    assert set() < others <= live.keys() - flagged  # of an archive no ECG that was not flagged is kept
    assert len(kept - live.keys()) == 2
    assert answers.counts[CMR_REQUESTS] == len(flagged & live.keys()) + 1
    assert 0 < len(ids) <= 5


def kept_in(redis, kind=""):
    """Return the ids of the records whose waveforms are kept."""
    return {key.decode().rpartition(":")[2] for key in redis.scan_iter(f"*waveform:{kind}*")}


@pytest.mark.parametrize("told", [False, True])
def test_an_archives_flagged_ecgs_are_kept_and_drawn_only_if_the_operator_says_so(tmp_path, servers, told):
    changes = {"backfill_waveforms": told, "backfill_cines": told}
    with ward(tmp_path, servers) as there:
        there.start(**changes)
        values = good_values(COUNT, seed=11)
        asyncio.run(publish_values(there.settings, values, Lane.BACKFILL))
        answers = asyncio.run(collect(there.settings, until=lambda found: found.answered >= COUNT))
        flagged = [report for report in answers.reports.values() if any(risk.flagged for risk in report.risks)]
        with Redis.from_url(there.settings.redis.url) as redis:
            wait_until(lambda: len(kept_in(redis) & values.keys()) >= len(flagged) * told, 0.1)
            there.stop()
            kept = kept_in(redis) & values.keys()
    assert flagged
    assert answers.counts[ECG_ALERTS] == 0
    assert answers.counts[CMR_REQUESTS] == len(flagged) * told
    assert len(kept) == len(flagged) * told

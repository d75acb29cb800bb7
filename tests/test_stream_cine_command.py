"""`cardiacnets cine` and `screen --cine`: a file, or a sentence that says why there is none."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from fake_generator import FakeGenerator
from PIL import Image
from sample_cine import sample_cine, sample_request

from inference.generator_manifest import EcgModel
from inference.report import compose_cmr_request, compose_report
from schemas.errors import ForeignEmbedding, InvalidSettings, UnreadableFile
from stream.cines.store import CineStore, RedisUnavailable
from stream.commands.cine import CineNotFound, cine_command
from stream.commands.screen_cine import check_cine_request, draw_cine, screen_cine
from stream.screening.model import load_screener
from stream.settings import ModelSettings, Settings
from training.simulation.ecg import generate_ecgs

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def settings(servers):
    with servers.place() as place:
        settings = Settings.of(**place, engine="onnxruntime")

        async def store():
            async with CineStore(settings.redis, ttl_s=settings.cines.ttl_s) as store:
                await store.put("r-1", sample_cine(), seconds=1)

        asyncio.run(store())
        yield settings


@pytest.fixture(scope="module")
def screener():
    return load_screener(ModelSettings(engine="onnxruntime"), max_batch=16)


@pytest.mark.parametrize("name", ["c.gif", "c.mp4", "c.nii.gz", "c.png"])
def test_a_cine_in_redis_becomes_a_file(settings, tmp_path, name, capsys):
    cine_command("r-1", tmp_path / name, redis=settings.redis.url)
    assert (tmp_path / name).stat().st_size > 500
    assert "synthetic" in capsys.readouterr().out


def test_a_cine_that_is_not_there_or_not_any_more_is_said_so(settings, tmp_path):
    with pytest.raises(CineNotFound, match=r"no cine of the record 'r-2'.*flagged.*expired \(cines are kept for 24 h"):
        cine_command("r-2", tmp_path / "c.gif", redis=settings.redis.url)


def test_a_redis_that_does_not_answer_is_said_so_with_the_variable_to_set(tmp_path):
    with pytest.raises(RedisUnavailable, match=r"127\.0\.0\.1:1 does not answer.*CARDIACNETS_REDIS"):
        cine_command("r-1", tmp_path / "c.gif", redis="redis://127.0.0.1:1/0")


def test_an_impossible_file_is_refused_before_anything_is_asked_for(tmp_path):
    with pytest.raises(InvalidSettings, match=r"\.nii\.gz"):
        cine_command("r-1", tmp_path / "c.avi", redis="redis://127.0.0.1:1/0")
    with pytest.raises(InvalidSettings, match=r"\.nii\.gz"):
        check_cine_request([Path("a.hea")], Path("c.avi"))
    with pytest.raises(InvalidSettings, match="give one file, not 2"):
        check_cine_request([Path("a.hea"), Path("b.hea")], Path("c.gif"))
    check_cine_request([Path("a.hea")], Path("c.gif"))


def test_a_file_that_holds_no_ecg_has_no_cine(settings, screener, tmp_path):
    with pytest.raises(UnreadableFile):
        screen_cine(settings, screener, tmp_path / "absent.hea", tmp_path / "c.gif")


def test_the_cine_of_a_screening_is_the_one_that_a_cmr_worker_draws(screener):
    generator = FakeGenerator()
    outcomes = screener.screen(list(generate_ecgs(30, seed=4)))
    (flagged, *_) = [outcome for outcome in outcomes if outcome.finding.flagged_diseases]
    cine = draw_cine(generator, flagged)
    report = compose_report(
        flagged.record, flagged.quality, flagged.finding, screener.bundle.reference, sample_request().created_at
    )
    request = compose_cmr_request(report, flagged.finding)
    assert np.array_equal(cine.frames, sample_cine(request).frames)
    about, expected = cine.provenance, sample_cine(request).provenance
    assert (about.record_id, about.report_id, about.seed) == (expected.record_id, expected.report_id, expected.seed)
    assert about.model == expected.model
    generator.ecg_model = EcgModel(name=about.model.name, version="of last year")
    with pytest.raises(ForeignEmbedding, match="of last year"):
        draw_cine(generator, flagged)


def test_an_ecg_file_becomes_a_cine_without_kafka_or_redis(screener, tmp_path):
    from training.simulation.simulate_cohort import write_wfdb

    write_wfdb(tmp_path / "ecgs", patients=1, seed=3)
    (header,) = (tmp_path / "ecgs").rglob("*.hea")
    nowhere = Settings.of(broker="127.0.0.1:1", redis="redis://127.0.0.1:1/0")
    screen_cine(nowhere, screener, header, tmp_path / "c.gif")
    with Image.open(tmp_path / "c.gif") as image:
        assert image.n_frames > 10
        assert b"cardiacnets-cine" in image.info["comment"]

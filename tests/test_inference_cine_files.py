"""A cine's files: the right pictures at the right speed, and each says that it is synthetic."""

import base64
import dataclasses
import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from dashboard_browser import FLAGS, PATIENCE_MS
from needed import CHROMIUM, needs_chromium
from sample_cine import sample_cine

from inference.av1_film import write_film
from inference.cine import Cine, CineGeometry
from inference.cine_files import captioned, write_cine
from schemas.errors import InvalidSettings
from schemas.messages import SYNTHETIC_NOTICE

BEAT_S = 0.8
SEEN = """async ([source, times]) => {
  const film = document.createElement("video");
  film.muted = true;
  const ready = (event) => new Promise((yes, no) => {
    film.addEventListener(event, yes, {once: true});
    film.addEventListener("error", () => no(film.error.message), {once: true});
  });
  film.src = source;
  await ready("canplaythrough");
  const paper = new OffscreenCanvas(film.videoWidth, film.videoHeight).getContext("2d");
  const centres = [];
  for (const time of times) {
    const there = ready("seeked");
    film.currentTime = time;
    await there;
    paper.drawImage(film, 0, 0);
    const row = paper.getImageData(0, 200, film.videoWidth, 1).data;
    const bright = [...Array(film.videoWidth).keys()].filter((column) => row[4 * column] > 150);
    centres.push(bright.reduce((sum, column) => sum + column, 0) / bright.length / 4);
  }
  return [film.duration, centres];
}"""
"""Where the bright square is, in a browser's film at those times, and how long the film is."""


@pytest.fixture(scope="module")
def cine():
    """A bright square that wanders to the right over a dark ground: 50 frames of 96 x 96."""
    frames = np.full((50, 96, 96), 20, np.uint8)
    for n, frame in enumerate(frames):
        frame[40:60, n : n + 20] = 220
    geometry = CineGeometry(50, 96, 96, 2.35, seconds_per_beat=BEAT_S)
    return Cine(frames, geometry, sample_cine().provenance)


def words_are_below(picture, rows):
    """Whether there is writing below the picture, in the middle of an otherwise black strip."""
    strip = picture[rows:]
    return strip.shape[0] > 10 and (strip > 150).sum() > 500 and (strip[:2] < 60).all() and (strip[:, :5] < 60).all()


def test_frames_that_contradict_their_geometry_are_no_cine(cine):
    with pytest.raises(ValueError, match=r"\(50, 96, 96\), not uint8 \(25, 96, 96\)"):
        Cine(cine.frames, dataclasses.replace(cine.geometry, frames=25), cine.provenance)


def test_a_gif_loops_for_ever_at_the_hearts_speed_and_says_that_it_is_synthetic(cine, tmp_path):
    from PIL import Image

    write_cine(cine, tmp_path / "c.gif")
    with Image.open(tmp_path / "c.gif") as image:
        delays, centres = [], []
        for n in range(image.n_frames):
            image.seek(n)
            delays.append(image.info["duration"])
            picture = np.asarray(image.convert("L"))
            assert words_are_below(picture, 384)
            centres.append(np.argwhere(picture[:384] > 150)[:, 1].mean() / 4)
        assert image.info["loop"] == 0
        assert json.loads(image.info["comment"])["notice"] == SYNTHETIC_NOTICE
    assert sum(delays) == pytest.approx(1000 * BEAT_S, abs=10)
    assert min(delays) >= 20  # what is quicker, browsers show at 100 ms
    assert all(later > earlier for earlier, later in pairwise(centres))


def test_an_mp4_plays_at_the_hearts_speed_and_says_that_it_is_synthetic(cine, tmp_path):
    import av

    write_cine(cine, tmp_path / "c.mp4")
    with av.open(tmp_path / "c.mp4") as film:
        (stream,) = film.streams
        pictures = [frame.to_ndarray(format="gray8") for frame in film.decode(stream)]
        assert float(stream.average_rate) == pytest.approx(50 / BEAT_S, rel=0.01)
        assert film.metadata["title"] == SYNTHETIC_NOTICE
    assert len(pictures) % 50 == 0
    assert all(words_are_below(picture, 384) for picture in pictures[::17])
    assert np.argwhere(pictures[25][:384] > 150)[:, 1].mean() / 4 == pytest.approx(25 + 9.5, abs=1)


def test_an_mp4_needs_no_codec_that_others_must_pay_for_or_publish_their_code_for(cine, tmp_path):
    import av

    write_cine(cine, tmp_path / "c.mp4")
    with av.open(tmp_path / "c.mp4") as film:
        assert film.streams.video[0].codec_context.codec.canonical_name == "av1"


def test_the_beats_of_an_mp4_are_stored_once(tmp_path):
    noise = list(np.random.default_rng(0).integers(0, 255, (5, 64, 96), np.uint8))
    for times in (1, 4):
        write_film(tmp_path / f"{times}.mp4", noise, rate=Fraction(60), times=times, title="t", comment="c")
    once, four = ((tmp_path / f"{times}.mp4").stat().st_size for times in (1, 4))
    assert once < four < 1.1 * once


@pytest.mark.browser
@needs_chromium
def test_a_browser_plays_every_beat_of_an_mp4(cine, tmp_path):
    from playwright.sync_api import sync_playwright

    write_cine(cine, tmp_path / "c.mp4")
    source = "data:video/mp4;base64," + base64.b64encode((tmp_path / "c.mp4").read_bytes()).decode()
    phases = [0.1, 0.5]
    times = [(beat + phase) * BEAT_S for beat in range(4) for phase in phases]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        duration, centres = page.evaluate(SEEN, [source, times])
        browser.close()
    assert duration == pytest.approx(4 * BEAT_S, rel=0.01)
    assert centres == pytest.approx([50 * phase + 9.5 for phase in phases] * 4, abs=1)


def test_nifti_keeps_every_grey_value_with_millimetres_seconds_and_the_words(cine, tmp_path):
    import nibabel

    write_cine(cine, tmp_path / "c.nii.gz")
    image = nibabel.load(tmp_path / "c.nii.gz")
    voxels = np.asarray(image.dataobj)
    assert voxels.dtype == np.uint8
    assert np.array_equal(voxels[:, :, 0].transpose(2, 1, 0), cine.frames)
    assert image.header.get_zooms() == pytest.approx((2.35, 2.35, 6.0, BEAT_S / 50))
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert np.allclose(np.abs(np.diag(image.affine)), (2.35, 2.35, 6.0, 1))
    assert nibabel.aff2axcodes(image.affine)[:2] == ("L", "P")
    assert bytes(image.header["descrip"].item()).decode() == SYNTHETIC_NOTICE
    assert json.loads(image.header.extensions[0].get_content())["record_id"] == "r-1"


def test_a_contact_sheet_shows_twelve_phases_in_order_and_says_that_they_are_synthetic(cine, tmp_path):
    from PIL import Image

    write_cine(cine, tmp_path / "C.PNG")
    with Image.open(tmp_path / "C.PNG") as image:
        assert image.text["Title"] == SYNTHETIC_NOTICE
        sheet = np.asarray(image)
    assert words_are_below(sheet, 3 * 192)
    cells = sheet[: 3 * 192].reshape(3, 192, 4, 192).swapaxes(1, 2).reshape(12, 192, 192)
    centres = [np.argwhere(cell > 150)[:, 1].mean() for cell in cells]
    assert all(later > earlier for earlier, later in pairwise(centres))


def test_where_nobody_knows_the_beat_it_lasts_a_second(tmp_path):
    from PIL import Image

    write_cine(sample_cine(), tmp_path / "c.gif")
    with Image.open(tmp_path / "c.gif") as image:
        assert sum(image.seek(n) or image.info["duration"] for n in range(image.n_frames)) == 1000


def test_words_that_do_not_fit_a_line_take_two(cine):
    one, two = captioned(cine.frames[:1], "synthetic")[0], captioned(cine.frames[:1], "a heart " * 12)[0]
    assert two.shape[0] > one.shape[0]


@pytest.mark.parametrize("name", ["c.avi", "c", ".gif", "c.nii"])
def test_another_name_is_refused_with_the_four_that_there_are(cine, tmp_path, name):
    with pytest.raises(InvalidSettings, match=r"\.gif, \.mp4, \.nii\.gz, \.png"):
        write_cine(cine, tmp_path / name)


@pytest.mark.parametrize("name", ["c.gif", "c.mp4", "c.nii.gz", "c.png"])
def test_a_folder_that_is_not_there_is_said_so(cine, tmp_path, name):
    with pytest.raises(InvalidSettings, match="cannot be written: No such file"):
        write_cine(cine, tmp_path / "absent" / name)

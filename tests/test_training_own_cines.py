"""Cines of one's own scans, as researchers have them, come into a cohort's shape the right way round."""

import gzip
import io
import os
import zipfile

import nibabel
import numpy as np
import pytest
from needed import DATA
from own_pairs import beating, dicom_frame, write_series
from sample_cine import sample_cine

from inference.cine_files import write_nifti
from inference.geometry import COHORT_PIXEL_MM
from schemas.errors import UnreadableFile
from training.cohort.fitted_cine import fit_beat, fit_cine, fit_measured_cine
from training.cohort.own_cines import read_cine

STUDY = DATA / "cmr" / "bivme_patient1" / "patient1_cine.npz"
FITTED = fit_measured_cine(fit_beat(beating().astype(np.float32)), (2.0, 2.0))


def area_mm2(cine, frame=0):
    """Return the bright area of a frame."""
    return (cine[frame] > 128).sum() * COHORT_PIXEL_MM**2


def middle(cine):
    """Return the row and the column of the middle of what is bright in the first frame."""
    return np.argwhere(cine[0] > 128).mean(axis=0)


def as_nifti(frames, affine, coded=1):
    image = nibabel.Nifti1Image(np.ascontiguousarray(frames.transpose(2, 1, 0)[:, :, None, :]), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, coded)
    image.set_qform(None, 0)
    return image


def test_a_folder_of_frames_is_read_in_order_of_time(tmp_path):
    np.testing.assert_array_equal(read_cine(write_series(tmp_path / "scan", beating())), FITTED)


def test_frames_without_a_trigger_time_are_read_in_order_of_their_numbers(tmp_path):
    (tmp_path / "scan").mkdir()
    for place, pixels in enumerate(beating()):
        (tmp_path / "scan" / f"{99 - place}").write_bytes(dicom_frame(pixels, number=place + 1))
    np.testing.assert_array_equal(read_cine(tmp_path / "scan"), FITTED)


def test_a_zip_and_a_file_of_many_frames_hold_the_same_cine_as_the_folder(tmp_path):
    folder = write_series(tmp_path / "scan", beating())
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.writestr("manifest.csv", "filename\n")
        for file in folder.iterdir():
            archive.write(file, f"a/{file.name}")
    (tmp_path / "scan.dcm").write_bytes(dicom_frame(beating()))
    np.testing.assert_array_equal(read_cine(tmp_path / "scan.zip"), FITTED)
    np.testing.assert_array_equal(read_cine(tmp_path / "scan.dcm"), FITTED)


def test_of_a_study_the_last_four_chamber_series_is_taken(tmp_path):
    write_series(tmp_path / "scan", beating(wide=0.9), series="1", view="cine 4-chamber", SeriesNumber=3)
    write_series(tmp_path / "scan", beating(), series="2", view="cine 4-chamber", SeriesNumber=12)
    write_series(tmp_path / "scan", beating(wide=0.2), series="3", view="cine 2ch", SeriesNumber=13)
    write_series(tmp_path / "scan", beating()[:1], series="4", view="LGE 4ch", SeriesNumber=20)
    np.testing.assert_array_equal(read_cine(tmp_path / "scan"), FITTED)


def test_nifti_and_arrays_that_say_how_large_a_pixel_is_hold_the_same_cine(tmp_path):
    nibabel.save(as_nifti(beating(), np.diag([-2.0, -2.0, 8.0, 1.0])), tmp_path / "a.nii.gz")
    nibabel.save(as_nifti(beating(), np.diag([-2.0, -2.0, 8.0, 1.0])), tmp_path / "a.nii")
    np.savez(tmp_path / "a.npz", frames=beating(), pixel_mm=2.0)
    for name in ("a.nii.gz", "a.nii", "a.npz"):
        np.testing.assert_array_equal(read_cine(tmp_path / name), FITTED)


@pytest.mark.parametrize(
    ("turn", "affine"),
    [
        (lambda frames: frames[:, ::-1], np.diag([-2.0, 2.0, 8.0, 1.0])),  # as dcm2niix writes
        (lambda frames: frames[:, :, ::-1], np.diag([2.0, -2.0, 8.0, 1.0])),
        (
            lambda frames: frames.transpose(0, 2, 1),
            np.array([[0, -2.0, 0, 0], [-2.0, 0, 0, 0], [0, 0, 8, 0], [0, 0, 0, 1]]),
        ),
    ],
    ids=["rows upwards", "columns to the right", "axes exchanged"],
)
def test_nifti_is_shown_as_a_radiologist_sees_it_however_its_axes_run(tmp_path, turn, affine):
    nibabel.save(as_nifti(turn(beating()), affine), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_cine(tmp_path / "a.nii.gz"), FITTED)


def test_nifti_that_does_not_say_how_its_plane_lies_is_left_as_it_is(tmp_path):
    image = as_nifti(beating(), np.diag([2.0, 2.0, 8.0, 1.0]), coded=0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_cine(tmp_path / "a.nii.gz"), FITTED)


def test_a_cine_that_a_generator_drew_is_no_scan_of_a_patient(tmp_path):
    write_nifti(sample_cine(), tmp_path / "ours.nii.gz")
    with pytest.raises(UnreadableFile, match="was drawn by a generator"):
        read_cine(tmp_path / "ours.nii.gz")


def test_a_heart_has_its_size_whatever_the_pixels_and_the_field_of_view():
    wide = beating(size=(240, 280)).astype(np.float32)
    for pixel in (0.8, 1.0):
        cine = fit_measured_cine(fit_beat(wide), (pixel, pixel))
        true = (wide[0] > 500).sum() * pixel**2
        assert area_mm2(cine) == pytest.approx(true, rel=0.05)
    oblong = fit_measured_cine(fit_beat(wide), (0.8, 1.0))
    assert area_mm2(oblong) == pytest.approx((wide[0] > 500).sum() * 0.8, rel=0.05)


def test_what_is_beyond_a_small_image_is_dark_and_its_middle_stays_the_middle():
    frames = np.full((50, 40, 40), 50, np.float32)
    frames[:, 18:22, 18:22] = 200
    cine = fit_measured_cine(frames, (COHORT_PIXEL_MM, COHORT_PIXEL_MM))
    assert middle(cine) == pytest.approx([47.5, 47.5])
    assert cine[0, :20].max() == 0


def test_an_array_that_does_not_say_how_large_a_pixel_is_is_taken_whole(tmp_path):
    np.save(tmp_path / "a.npy", beating())
    np.testing.assert_array_equal(read_cine(tmp_path / "a.npy"), fit_cine(fit_beat(beating().astype(np.float32))))


@pytest.mark.parametrize("count", [8, 25, 30, 50, 73])
def test_a_beat_of_any_number_of_frames_becomes_fifty_and_stays_in_time(count):
    phase = np.arange(count) / count
    frames = np.broadcast_to(np.cos(2 * np.pi * phase)[:, None, None], (count, 4, 4)).astype(np.float32)
    fitted = fit_beat(frames)[:, 0, 0]
    assert fitted.shape == (50,)
    np.testing.assert_allclose(fitted, np.cos(2 * np.pi * np.arange(50) / 50), atol=0.09)


def zipped(*contents):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, content in enumerate(contents):
            archive.writestr(f"{place}.dcm", content)
    return file.getvalue()


def saved(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def array_bytes(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def series(frames, **options):
    return [dicom_frame(pixels, number=place, **options) for place, pixels in enumerate(frames)]


STACK = nibabel.Nifti1Image(np.zeros((64, 64, 10, 25), np.int16), np.eye(4)).to_bytes()
STILL = nibabel.Nifti1Image(np.zeros((64, 64, 25), np.int16), np.eye(4)).to_bytes()
REFUSED = {
    "nothing": (b"", "in a format that is read"),
    "words": (b"not a cine", "in a format that is read"),
    "a short-axis stack": (STACK, "stack of 10 planes: name a cine of one plane, the four-chamber view"),
    "no time": (STILL, "columns, rows, 1 plane and frames"),
    "torn nifti": (nibabel.Nifti1Image(np.zeros((64, 64, 1, 25), np.int16), np.eye(4)).to_bytes()[:5000], "damaged"),
    "torn gzip": (gzip.compress(STACK)[:200], "gzip that is damaged or cut short"),
    "one frame": (dicom_frame(beating()[0]), "has 1 frames: one beat in 8 to 200 frames"),
    "too many frames": (array_bytes(np.zeros((201, 40, 40), np.uint8)), "has 201 frames"),
    "nothing moves": (array_bytes(np.ones((25, 40, 40), np.uint8)), "all alike: nothing moves"),
    "few pixels": (array_bytes(beating(size=(20, 40))), "20 × 40 pixels"),
    "no numbers": (array_bytes(np.full((25, 40, 40), np.nan)), "pixels without a number"),
    "colours": (array_bytes(np.zeros((25, 40, 40, 3), np.uint8)), "not numbers of the shape"),
    "a pickle": (array_bytes(np.array([{"a": 1}], object), allow_pickle=True), "damaged, or of a kind unknown"),
    "other arrays": (saved(a=beating()), "no array 'frames'"),
    "metres for millimetres": (saved(frames=beating(), pixel_mm=0.0014), "a pixel is 0.0014 × 0.0014 mm"),
    "no image": (zipped(b"a", b"b"), "holds no image of DICOM"),
    "another view": (zipped(*series(beating(), view="cine_sax")), "another view than the four-chamber one"),
    "several series": (
        zipped(*series(beating(), view="cine", series="1"), *series(beating(), view="cine", series="2")),
        "2 series, and none is described as the four-chamber view",
    ),
    "several planes": (
        zipped(*series(beating()[:12]), *series(beating()[12:], place=(0, 0, 8))),
        "2 planes: name a cine of one plane",
    ),
    "no order": (zipped(*[dicom_frame(pixels) for pixels in beating()]), "neither trigger times nor numbers tell"),
    "frames of two sizes": (
        zipped(*series(beating()), dicom_frame(beating(size=(90, 90))[0], number=99)),
        "damaged, or of a kind unknown",
    ),
    "more than a scan": (zipped(bytes(513 * 2**20)), "more than 512 MiB: name the folder or the file of one series"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_cine_of_one_plane_is_refused_by_what_it_is(tmp_path, name):
    content, words = REFUSED[name]
    (tmp_path / "scan").write_bytes(content)
    with pytest.raises(UnreadableFile, match=words) as refusal:
        read_cine(tmp_path / "scan")
    assert str(tmp_path / "scan") in refusal.value.detail


def test_a_cine_that_is_not_there_is_refused_and_a_pipe_hangs_nobody(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableFile, match="is not there"):
        read_cine(tmp_path / "absent.nii.gz")
    with pytest.raises(UnreadableFile, match="a pipe"):
        read_cine(tmp_path / "pipe")


@pytest.mark.skipif(
    not STUDY.exists(), reason=f"needs the developers' real scan at {STUDY}: copy shared/data from another checkout"
)
def test_a_real_four_chamber_cine_is_read_with_the_heart_in_the_middle_and_beating(tmp_path):
    with np.load(STUDY, allow_pickle=False) as arrays:
        frames = arrays["Se6"]
    write_series(tmp_path / "scan", frames, PixelSpacing=[1.40625, 1.40625])
    cine = read_cine(tmp_path / "scan")
    moving = cine.astype(float).std(axis=0)
    row, column = (np.average(axis, weights=moving**2) for axis in np.mgrid[:96, :96])
    assert 30 < row < 66
    assert 30 < column < 66
    steps = np.abs(np.diff(cine.astype(float), axis=0)).mean(axis=(1, 2))
    last = np.abs(cine[-1].astype(float) - cine[0]).mean()
    assert last < 2 * steps.max()  # the last frame leads into the first one, as in one whole beat

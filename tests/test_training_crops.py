"""Training crops are what the worker would feed the network, at random places."""

import os
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from tiny_cohort import write_tiny_cohort

from engines.whole_file import unfinished_path
from inference.waveform import filter_operator, preprocess, standardise
from schemas.errors import InvalidSettings
from training.stages.crops import (
    Augmentation,
    disturb_crops,
    draw_disturbances,
    iterate_screened,
    make_crops,
    open_resampled,
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_tiny_cohort(tmp_path_factory.mktemp("crops") / "cohort", folds={"train": 6}, cines=False)


@pytest.fixture(scope="module")
def signals(cohort):
    return open_resampled(cohort)


def served(cohort, n_crops=3):
    return preprocess(cohort.ecgs[:].astype(np.float32) * 0.005, 500, n_crops)


def draw_crops(signals, rng, augmentation=None):
    """Return what a step makes of ECGs on the processor, and with the noise of one seed."""
    torch.manual_seed(7)
    drawn = {n: torch.from_numpy(v) for n, v in draw_disturbances(len(signals), rng, augmentation).items()}
    return make_crops(torch.from_numpy(np.array(signals)), drawn).numpy()


def middle_crops(signals):
    return make_crops(torch.from_numpy(np.array(signals)), {}).numpy()


def test_the_middle_crop_is_the_workers_but_for_half_precision(cohort, signals):
    np.testing.assert_allclose(middle_crops(signals), served(cohort)[:, 1], atol=0.02)


def test_the_resampled_ecgs_are_made_once(cohort, signals):
    path = cohort.folder / "ecgs_250hz.npy"
    before = path.stat().st_mtime_ns
    assert signals.shape == (6, 12, 2500)
    assert signals.dtype == np.float16
    open_resampled(cohort)
    assert path.stat().st_mtime_ns == before
    assert not list(cohort.folder.glob("*.partial"))


def test_what_a_killed_process_left_of_resampling_is_removed(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "c", folds={"train": 2}, cines=False)
    resampled = cohort.folder / "ecgs_250hz.npy"  # the first process below does not exist
    left, living = (
        unfinished_path(resampled, process) for process in (2**22 + 1, os.getppid())
    )  # the first is nobody's
    for path in (left, living):
        path.write_bytes(b"half")
    open_resampled(cohort)
    assert not left.exists()
    assert living.exists()


@contextmanager
def unprivileged():
    """Permissions do not bind root: for the block, root is somebody without rights."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def read_only():
    """A cohort that may be read, and a cache that may be written to, as for a biobank's mount."""
    with TemporaryDirectory() as name:  # pytest's own folder is closed to everybody else
        place = Path(name)
        place.chmod(0o755)
        cohort = write_tiny_cohort(place / "cohort", folds={"train": 3}, cines=False)
        cohort.folder.chmod(0o555)
        (place / "cache").mkdir()
        (place / "cache").chmod(0o777)
        yield cohort, place / "cache"
        cohort.folder.chmod(0o755)


def test_ecgs_of_a_cohort_that_cannot_be_written_to_are_kept_in_the_cache(read_only):
    cohort, cache = read_only
    with unprivileged():
        first = open_resampled(cohort, cache)
        (kept,) = cache.iterdir()
        before = kept.stat().st_mtime_ns
        again = open_resampled(cohort, cache)
    assert kept.stat().st_mtime_ns == before
    assert not (cohort.folder / "ecgs_250hz.npy").exists()
    cohort.folder.chmod(0o755)
    beside = open_resampled(cohort, cache)
    assert (cohort.folder / "ecgs_250hz.npy").exists()
    for resampled in (first, again):
        np.testing.assert_array_equal(resampled, beside)


def test_ecgs_that_lie_beside_a_read_only_cohort_are_used(read_only):
    cohort, cache = read_only
    cohort.folder.chmod(0o755)
    open_resampled(cohort, cache)
    cohort.folder.chmod(0o555)
    with unprivileged():
        assert open_resampled(cohort, cache).shape == (3, 12, 2500)
    assert not list(cache.iterdir())


def test_other_ecgs_of_the_same_patients_are_resampled_again(read_only):
    cohort, cache = read_only
    with unprivileged():
        before = open_resampled(cohort, cache)
    ecgs = np.lib.format.open_memmap(cohort.folder / "ecgs.npy", mode="r+")
    ecgs[0] = ecgs[1]
    ecgs.flush()
    os.utime(cohort.folder / "ecgs.npy", ns=(1, 1))
    with unprivileged():
        after = open_resampled(cohort, cache)
    assert len(list(cache.iterdir())) == 2
    assert not np.array_equal(before[0], after[0])
    np.testing.assert_array_equal(after[0], after[1])


def test_where_nothing_can_be_written_the_error_names_both_folders(read_only):
    cohort, cache = read_only
    cache.chmod(0o555)
    with unprivileged(), pytest.raises(InvalidSettings, match=f"{cohort.folder}.*{cache}.*XDG_CACHE_HOME"):
        open_resampled(cohort, cache)


def test_crops_lie_at_random_places_that_the_generator_decides(signals):
    first, again, other = (draw_crops(signals, np.random.default_rng(seed)) for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_allclose(first.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(first.std(axis=(1, 2)), 1, atol=1e-4)


def test_augmentation_takes_leads_off_and_changes_gains_but_keeps_the_scale(signals):
    plain = draw_crops(signals, np.random.default_rng(1))
    disturbed = draw_crops(signals, np.random.default_rng(1), Augmentation(dropout=1))

    lost = (np.ptp(disturbed, axis=2) < 1e-3).sum(axis=1)
    assert set(lost) <= {1, 2, 3}
    np.testing.assert_allclose(disturbed.std(axis=(1, 2)), 1, atol=1e-4)
    assert not np.array_equal(plain, disturbed)


def test_a_lost_lead_gets_no_noise_either(signals):
    rng = np.random.default_rng(3)
    crops = torch.randn(400, 12, 50)
    drawn = draw_disturbances(400, rng, Augmentation(dropout=0.5))
    disturbed = disturb_crops(crops, *(torch.from_numpy(drawn[name]) for name in ("gains", "noise_mv")))
    lost = drawn["gains"] == 0
    assert not disturbed[torch.from_numpy(lost)].any()
    assert 0.4 < (lost.sum(axis=1) > 0).mean() < 0.6
    assert set(lost.sum(axis=1)) == {0, 1, 2, 3}
    assert 0.4 < (drawn["noise_mv"] > 0).mean() < 0.6
    assert np.log(drawn["gains"][~lost]).std() == pytest.approx(0.08, rel=0.05)
    quiet = torch.from_numpy(drawn["noise_mv"] == 0)
    torch.testing.assert_close(disturbed[quiet], crops[quiet] * torch.from_numpy(drawn["gains"])[quiet, :, None])
    noise = disturbed[~quiet] - crops[~quiet] * torch.from_numpy(drawn["gains"])[~quiet, :, None]
    assert 0 < float(noise.abs().max()) < 0.2


@pytest.mark.parametrize("offset", [0, 1, 125, 250])
def test_crops_by_torch_are_those_of_serving_wherever_they_begin(offset):
    walk = np.random.default_rng(offset).standard_normal((9, 12, 2500)).cumsum(axis=2) * 0.02
    walk[8] = 0
    signals = walk.astype(np.float16)
    found = make_crops(torch.from_numpy(signals), {"offsets": torch.full((9,), offset)}).numpy()
    expected = signals[..., offset : offset + 2250].astype(np.float32)
    expected -= expected.mean(axis=-1, keepdims=True)
    expected = standardise(filter_operator().apply(expected))
    assert np.abs(found - expected).max() < 2e-5
    assert not found[8].any()


def test_whole_records_by_torch_are_those_of_serving(cohort):
    for n_crops in (1, 3):
        (found,) = iterate_screened(cohort, np.arange(6), n_crops, torch.device("cpu"))
        assert np.abs(found.numpy() - served(cohort, n_crops).reshape(found.shape)).max() < 2e-5


def test_augmentation_leaves_the_signals_alone(signals):
    before = signals.copy()
    draw_crops(signals, np.random.default_rng(1), Augmentation())
    assert np.array_equal(signals, before)


def test_a_flat_ecg_gives_zeros():
    assert not draw_crops(np.zeros((2, 12, 2500), np.float16), np.random.default_rng(0)).any()


def test_whole_records_come_as_the_worker_crops_them_in_batches_of_any_size(cohort):
    rows = np.array([5, 0, 3])
    parts = list(iterate_screened(cohort, rows, 3, torch.device("cpu"), at_once=2))

    assert [len(part) for part in parts] == [6, 3]
    np.testing.assert_allclose(np.concatenate(parts).reshape(3, 3, 12, 2250), served(cohort)[rows], atol=1e-4)


def test_a_batch_keeps_to_the_core_of_its_thread(signals):
    """Two steps learn at the same time, each on its core: a thread that spins beside them costs both."""
    torch.set_num_threads(1)  # as the recipe does in each of them
    batch = np.resize(signals, (64, 12, 2500))
    draw_crops(batch, np.random.default_rng(0))
    whole, own = time.process_time(), time.thread_time()
    draw_crops(batch, np.random.default_rng(1))
    whole, own = time.process_time() - whole, time.thread_time() - own
    assert whole < 1.3 * own

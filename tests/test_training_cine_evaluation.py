"""The evaluation of drawn cines: its metrics against closed forms, its segmentation against the simulated heart."""

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from typer.testing import CliRunner

from inference.bundle import default_bundle, load_bundle
from inference.cine import CineGeometry
from inference.generator import reduce_cines
from inference.generator_manifest import EcgModel
from schemas.errors import ForeignEmbedding, InvalidSettings
from schemas.messages import ModelReference
from stream.cli import app
from training.cohort.layout import PHENOTYPES
from training.evaluation.bootstrap import draw_patients
from training.evaluation.cines.baselines import MEAN, NEAREST, RANDOM, answer_with_training_cines
from training.evaluation.cines.consistency import check_consistency, weighted_correlation
from training.evaluation.cines.evaluation import as_json, evaluate_generator
from training.evaluation.cines.frechet import FeatureSpace, estimate_frechet, frechet_distance, gaussian_distance
from training.evaluation.cines.scorer import find_distinct
from training.evaluation.cines.sheet import write_sheet
from training.evaluation.cines.similarity import MOST_DB, estimate_mean, measure_psnr, measure_ssim
from training.instruments.left_ventricle import LeftVentricles, measure_left_ventricles
from training.instruments.segmenter import CineSegmenter, load_segmenter
from training.simulation.cine_picture import PIXEL_MM
from training.simulation.four_chamber import draw_four_chamber, outline_four_chamber
from training.simulation.heart import build_heart
from training.simulation.heart_measurements import measure_heart
from training.simulation.physiology import draw_patient
from training.simulation.simulate_cohort import simulate_cohort
from training.stages.outlined_frames import disturb, move, shrink
from training.stages.segmenter import TrainSegmenter, measured, train_segmenter
from training.stages.settings import Hardware
from training.stages.stage_folder import StageFolder

LVEDV, LVEF, THICKNESS = (PHENOTYPES.index(name) for name in ("LVEDV", "LVEF", "LV_wall_thickness_global"))


def some_cines(n, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (n, 3, 16, 16), np.uint8)


# ------------------------------------------------------------------------------------------- pictures and distributions


def test_a_cine_is_like_itself_and_less_like_others_the_more_noise_there_is():
    cines = some_cines(4)
    assert measure_ssim(cines, cines) == pytest.approx(1)
    assert (measure_psnr(cines, cines) == MOST_DB).all()
    little, much = (np.clip(cines + 0.0 + noise * some_cines(4, 1), 0, 255).astype(np.uint8) for noise in (0.1, 0.4))
    assert (measure_ssim(cines, little) > measure_ssim(cines, much)).all()
    assert (measure_psnr(cines, little) > measure_psnr(cines, much)).all()


def test_psnr_is_that_of_its_definition():
    black = np.zeros((1, 2, 8, 8), np.uint8)
    assert measure_psnr(black, black + 16) == pytest.approx(20 * np.log10(255 / 16))


def test_the_mean_has_an_interval_that_holds_it():
    values = np.random.default_rng(0).normal(3, 1, 100)
    found = estimate_mean(values, draw_patients(np.arange(100).astype(str), 200, 0))
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 / 10, rel=0.3)


def test_the_distance_of_a_sample_to_itself_is_nothing():
    sample = np.random.default_rng(0).standard_normal((200, 6))
    assert frechet_distance(sample, sample) == pytest.approx(0, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_the_distance_of_normal_distributions_is_the_closed_form(seed):
    rng = np.random.default_rng(seed)
    shift, deviations, others = rng.normal(0, 1, 4), rng.uniform(0.1, 2, 4), rng.uniform(0.1, 2, 4)
    expected = np.sum(shift**2) + np.sum((deviations - others) ** 2)
    found = gaussian_distance(np.zeros(4), np.diag(deviations**2), shift, np.diag(others**2))
    assert found == pytest.approx(expected)


def test_the_distance_is_that_of_scipys_root_where_covariances_do_not_commute():
    rng = np.random.default_rng(0)
    one, other = (part @ part.T for part in rng.standard_normal((2, 5, 5)))
    expected = np.trace(one + other - 2 * sqrtm(one @ other).real)
    assert gaussian_distance(np.zeros(5), one, np.zeros(5), other) == pytest.approx(expected)


def test_a_weight_of_two_counts_as_two_patients():
    rng = np.random.default_rng(0)
    true, drawn = rng.standard_normal((2, 30, 3))
    weights = rng.integers(0, 3, 30)
    repeated = frechet_distance(np.repeat(true, weights, axis=0), np.repeat(drawn, weights, axis=0))
    assert frechet_distance(true, drawn, weights.astype(float)) == pytest.approx(repeated)


def test_who_draws_the_mean_for_everybody_is_at_a_distance_of_one():
    rng = np.random.default_rng(0)
    training = rng.standard_normal((500, 40)) * np.linspace(0.1, 5, 40)
    space = FeatureSpace.fit(training, 30)
    placed = space.place(training)
    mean = space.place(np.broadcast_to(training.mean(axis=0), training.shape))
    assert frechet_distance(placed, mean) == pytest.approx(1)


def test_only_the_joint_distance_sees_that_cines_were_dealt_to_the_wrong_patients():
    rng = np.random.default_rng(0)
    cines = rng.standard_normal((300, 4))
    ecgs = cines + 0.1 * rng.standard_normal((300, 4))
    dealt = rng.permutation(cines)
    weights = draw_patients(np.arange(300).astype(str), 50, 0)
    marginal, _ = estimate_frechet(cines, dealt, weights)
    joint, _ = estimate_frechet(np.hstack([cines, ecgs]), np.hstack([dealt, ecgs]), weights)
    assert marginal.value == pytest.approx(0, abs=1e-6)
    assert joint.value > 0.5
    assert joint.low < joint.value < joint.high


def test_the_interval_of_a_distance_between_samples_of_the_same_patients_holds_it():
    true, drawn = np.random.default_rng(0).standard_normal((2, 200, 16))
    found, draws = estimate_frechet(true, drawn, draw_patients(np.arange(200).astype(str), 100, 0))
    assert found.low < found.value < found.high
    assert draws.mean() == pytest.approx(found.value, abs=1e-6)


# ------------------------------------------------------------------------------------------------------ the baselines


def test_baselines_answer_with_training_cines_alone():
    training, rng = some_cines(20), np.random.default_rng(0)
    known = rng.standard_normal((20, 8))
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    answers = answer_with_training_cines(training, known, known[[3, 7, 7]], seed=1)
    assert np.abs(answers[MEAN][0].astype(float) - training.mean(axis=0)).max() <= 0.5
    assert (answers[NEAREST] == training[[3, 7, 7]]).all()
    stored = {cine.tobytes() for cine in training}
    assert {cine.tobytes() for cine in answers[RANDOM]} <= stored
    other = answer_with_training_cines(training, known, rng.standard_normal((3, 8)), seed=1)
    assert (other[RANDOM] == answers[RANDOM]).all()


def test_a_cine_that_is_there_several_times_is_looked_at_once():
    cines = some_cines(3)
    distinct, places = find_distinct(cines[[2, 0, 2, 2, 1]])
    assert (distinct == cines[[2, 0, 1]]).all()
    assert (distinct[places] == cines[[2, 0, 2, 2, 1]]).all()


# ---------------------------------------------------------------------------------------------------- the consistency


def test_what_is_measured_right_agrees_and_what_is_not_seen_is_left_out():
    rng = np.random.default_rng(0)
    truth = rng.uniform(50, 150, (40, len(PHENOTYPES)))
    truth[:, LVEF] = rng.uniform(20, 70, 40)
    volumes = truth[:, [LVEDV]] * np.stack([np.ones(40), 1 - truth[:, LVEF] / 100], axis=1)
    volumes[0] = np.nan
    measured = LeftVentricles(volumes, np.full(40, 9.0))
    found = check_consistency(measured, truth, truth + 5, draw_patients(np.arange(40).astype(str), 50, 0))
    assert found["lvef"].cines == 39
    assert found["lvef"].r_truth.value == pytest.approx(1)
    assert found["lvedv"].mae_truth.value == pytest.approx(0, abs=1e-6)
    assert found["lvedv"].mae_report.value == pytest.approx(5)
    assert np.isnan(found["wall_thickness"].r_truth.value)


def test_the_weighted_correlation_is_that_of_repeated_patients():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 50))
    weights = rng.integers(0, 3, 50)
    expected = np.corrcoef(np.repeat(x, weights), np.repeat(y, weights))[0, 1]
    assert weighted_correlation(x, y, weights[None].astype(float))[0] == pytest.approx(expected)


# ---------------------------------------------------------------------------------------------- the left ventricle


def ellipse(length, width, turn, pixels=48, fine=8, middle=(1.3, -2.4)):
    """The shares of pixels inside an ellipse, in pixels."""
    place = (np.arange(pixels * fine) + 0.5) / fine - pixels / 2
    x, y = place[None] - middle[0], place[:, None] - middle[1]
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    inside = (2 * along / length) ** 2 + (2 * across / width) ** 2 < 1
    return inside.reshape(pixels, fine, pixels, fine).mean(axis=(1, 3)).astype(np.float32)


@settings(deadline=None, max_examples=10)
@given(st.floats(14, 24), st.floats(7, 13), st.floats(0, np.pi))
def test_area_and_length_give_an_ellipsoids_volume(length, width, turn):
    cavity = ellipse(length, width, turn)
    far = ellipse(3, 3, 0, middle=(-18, 18))
    wall = ellipse(length + 4, width + 4, turn) - cavity
    shares = np.stack([cavity + far, 0.8 * wall])[None, None]  # a piece elsewhere; a wall with a gap
    found = measure_left_ventricles(shares, pixel_mm=2.0)
    assert found.lvedv_ml[0] == pytest.approx(np.pi / 6 * length * width**2 * 8 / 1e3, rel=0.01)
    assert found.thickness_mm[0] == pytest.approx(4, rel=0.08)  # the offset of an ellipse is no ellipse


def test_where_there_is_no_ventricle_nothing_is_measured():
    found = measure_left_ventricles(np.zeros((1, 2, 2, 48, 48), np.float32), 2.0)
    assert np.isnan(found.lvef_percent[0])
    assert np.isnan(found.thickness_mm[0])


@pytest.fixture(scope="module")
def hearts():
    return [build_heart(draw_patient(31, number)) for number in range(30)]


def test_outlines_measure_what_the_heart_holds(hearts):
    truth = np.stack([measure_heart(heart) for heart in hearts])
    shares = np.stack([shrink(outline_four_chamber(heart)) for heart in hearts])
    found = measure_left_ventricles(shares, 2 * PIXEL_MM)
    for values, place, least in (
        (found.lvedv_ml, LVEDV, 0.98),
        (found.lvef_percent, LVEF, 0.9),
        (found.thickness_mm, THICKNESS, 0.95),
    ):
        assert np.corrcoef(values, truth[:, place])[0, 1] > least
    assert np.abs(found.lvef_percent - truth[:, LVEF]).mean() < 3


def test_outlines_lie_where_blood_is_bright_and_muscle_dark(hearts):
    cavity, wall = np.moveaxis(outline_four_chamber(hearts[0]), 1, 0) > 0.99
    cine = draw_four_chamber(hearts[0])
    assert cine[cavity].mean() > 2 * cine[wall].mean()
    assert not (cavity & wall).any()


# -------------------------------------------------------------------------------------------------------- the segmenter


def test_frames_are_disturbed_on_the_device_where_they_are():
    frames, shares = torch.zeros(2, 48, 48, device="meta"), torch.zeros(2, 2, 48, 48, device="meta")
    assert {moved.device.type for moved in disturb(frames, shares)} == {"meta"}


def test_disturbed_frames_and_their_outlines_stay_together():
    torch.manual_seed(0)
    inside = torch.from_numpy(np.stack([ellipse(20, 12, turn) for turn in (0, 1, 2)]))
    frames, shares = disturb((200 * inside).byte(), (255 * torch.stack([inside, 1 - inside], dim=1)).byte())
    for frame, share in zip(frames, shares[:, 0], strict=True):
        assert np.corrcoef(frame.flatten(), share.flatten())[0, 1] > 0.85
    moved, _ = move(200 * inside, torch.zeros(3, 2, 48, 48))
    assert (moved - 200 * inside).abs().max() > 50


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return simulate_cohort(tmp_path_factory.mktemp("cines") / "cohort", 12, 4, processes=1, folds=(0.5, 0.5))


@pytest.fixture(scope="module")
def trained(cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("stage") / "segmenter"
    run = CliRunner().invoke(
        app,
        ["train", "--device", "cpu", "segmenter", "--cohort", str(cohort.folder), "--out", str(out),
         "--epochs", "2", "--batch-size", "16"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    return StageFolder(out)


@pytest.mark.learns
def test_the_stage_leaves_a_segmenter_that_can_be_loaded(trained):
    segmenter = load_segmenter(trained.path)
    assert isinstance(segmenter, CineSegmenter)
    assert 0 <= segmenter.card.development["dice_cavity"] <= 1
    assert "seed 4" in segmenter.card.trained_on
    large = np.random.default_rng(0).integers(0, 255, (2, 3, 96, 96), np.uint8)
    shares = segmenter.outline(large)
    assert shares.shape == (2, 3, 2, 48, 48)
    assert (shares >= 0).all()
    assert (shares.sum(axis=2) <= 1.0001).all()


def test_it_learns_from_hearts_that_were_scanned_and_measured(cohort):
    from dataclasses import replace

    rows = cohort.select("train")
    cine, phenotypes = cohort.cine.copy(), cohort.phenotypes.copy()
    cine[rows[0]], phenotypes[rows[1]] = -1, np.nan
    found = measured(replace(cohort, cine=cine, phenotypes=phenotypes), "train")
    np.testing.assert_array_equal(found, rows[2:])


@pytest.mark.learns
def test_altered_weights_are_refused(trained, tmp_path):
    for name in ("segmenter.json", "weights.safetensors"):
        (tmp_path / name).write_bytes((trained.path / name).read_bytes())
    damaged = bytearray((tmp_path / "weights.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(damaged)
    with pytest.raises(InvalidSettings, match="fetch them again"):
        load_segmenter(tmp_path)


def test_cines_whose_hearts_are_not_known_cannot_be_learned_from(cohort, tmp_path):
    from dataclasses import replace

    real = replace(cohort, description=msgspec.structs.replace(cohort.description, seed=None))
    with pytest.raises(InvalidSettings, match="simulated"):
        train_segmenter(real, tmp_path / "real", TrainSegmenter(), Hardware(device="cpu"))
    other = replace(cohort, phenotypes=cohort.phenotypes + 1)
    with pytest.raises(InvalidSettings, match="another version"):
        train_segmenter(other, tmp_path / "other", TrainSegmenter(), Hardware(device="cpu"))


# ------------------------------------------------------------------------------------------------------------ the whole


class Echo:
    """A generator whose autoencoder is perfect, and that draws the same grey heart for everybody."""

    reference = ModelReference(name="echo", version="1", trained=False, weights="none")
    ecg_model = None
    manifest = SimpleNamespace(trained_on="simulated patients of seed 5")
    geometry = CineGeometry(5, 48, 48, 2 * PIXEL_MM)

    def draw(self, embeddings, seeds):
        return np.full((len(seeds), *self.geometry.shape), 90, np.uint8)

    def reconstruct(self, cines):
        return cines

    def reduce(self, cines):
        return reduce_cines(cines, (10, 2, 2))


@pytest.fixture(scope="module")
def found(trained):
    bundle = load_bundle(default_bundle())
    return evaluate_generator(
        Echo(), bundle, seed=6, patients=10, training_patients=16, segmenter=trained.path, processes=1, draws=20
    )


@pytest.mark.learns
def test_a_generator_of_another_model_is_refused_before_anybody_is_simulated(trained):
    foreign = Echo()
    foreign.ecg_model = EcgModel(name="cardiacnets-reference", version="of last year")
    with pytest.raises(ForeignEmbedding, match="of last year"):
        evaluate_generator(foreign, load_bundle(default_bundle()), seed=6, patients=10, segmenter=trained.path)


@pytest.mark.learns
def test_the_ceiling_of_a_perfect_autoencoder_is_the_truth_and_grey_cines_lose_to_it(found):
    assert found.ceiling.ssim.value == 1
    assert found.ceiling.frechet.value == pytest.approx(0, abs=1e-6)
    assert found.drawn.ssim.value < 0.5
    assert found.drawn.frechet.value > 0.1
    for name in (MEAN, RANDOM, NEAREST):
        assert found.baselines[name][1].ssim.value < 0


@pytest.mark.learns
def test_the_figures_are_json_of_the_documented_shape(found):
    told = msgspec.json.decode(msgspec.json.encode(as_json(found)))
    assert {"ssim", "psnr", "frechet", "frechet_joint", "lvef_consistency", "baselines", "ceiling"} <= told.keys()
    assert {MEAN, RANDOM, NEAREST} == told["baselines"].keys()
    assert {"r_truth", "mae_truth", "r_report"} <= told["lvef_consistency"].keys()
    value, low, high = told["ssim"]
    assert low <= value <= high
    assert told["patients"]["seed"] == 6
    assert told["report"]["lvef_consistency"]["r_report"][0] == pytest.approx(1)
    assert told["training_cines"]["seed"] == 5


@pytest.mark.learns
def test_the_sheet_is_written(found, tmp_path):
    write_sheet(tmp_path / "new" / "cines.png", found.true_cines, found.drawn_cines, found.systole)
    assert (tmp_path / "new" / "cines.png").read_bytes().startswith(b"\x89PNG")


def test_patients_who_were_learned_from_are_refused():
    bundle = load_bundle(default_bundle())
    with pytest.raises(InvalidSettings, match="another seed"):
        evaluate_generator(Echo(), bundle, seed=5, patients=10)

"""The stages on sixty patients: what is learned depends on training and development alone, and can be resumed."""

import csv
import json

import numpy as np
import pytest
import torch
from learned import EPOCHS, learn_stages
from lightning.pytorch import Trainer
from tiny_cohort import write_tiny_cohort
from typer.testing import CliRunner

from schemas.errors import CardiacNetsError, InvalidSettings
from stream.cli import app
from training.evaluation.cmr_oracle import load_oracle
from training.networks.weights_files import load_weights
from training.stages.align import Align, Aligner, align, by_row, principal_components
from training.stages.batches import TrainingCrops, load_training
from training.stages.crops import open_resampled
from training.stages.finetune import (
    Finetune,
    Finetuner,
    alignment_loss,
    check_development,
    disease_loss,
    finetune,
    fit_scaler,
    labelled_rows,
    mixed_development,
    phenotype_loss,
    positive_weights,
    subtype_loss,
)
from training.stages.pretrain_cmr import CmrMasker, PretrainCmr, pretrain_cmr
from training.stages.pretrain_ecg import EcgMasker, PretrainEcg, pretrain_ecg
from training.stages.settings import Hardware, Learning

pytestmark = pytest.mark.learns

CPU = Hardware(device="cpu")
LEARNING = Learning(epochs=EPOCHS, batch_size=12, learning_rate=1e-3)
NAN = float("nan")


@pytest.fixture(scope="module")
def relearned(tmp_path_factory):
    out = tmp_path_factory.mktemp("relearned")
    learn_stages(out, test_seed=1)
    return out


def test_the_test_fold_decides_nothing_and_a_seed_decides_everything(learned, relearned):
    """Weights, the epoch, scalers, components, thresholds: the same bits, though every test patient is another."""
    first, second = (np.load(out / "cohort" / "ecgs.npy")[-8:] for out in (learned, relearned))
    assert not np.array_equal(first, second)
    for name in (
        "ecg/weights.safetensors",
        "cmr/weights.safetensors",
        "cmr/features.npy",
        "align/weights.safetensors",
        "align/cmr_tower.safetensors",
        "align/components.npy",
        "align/embeddings.npy",
        "finetune/weights.safetensors",
        "finetune/scaler.json",
        "finetune/result.json",
        "calibrate/calibration.json",
    ):
        assert (learned / name).read_bytes() == (relearned / name).read_bytes(), name
    for a, b in zip(oracle_numbers(learned), oracle_numbers(relearned), strict=True):
        np.testing.assert_array_equal(a, b)


def oracle_numbers(out):
    oracle = load_oracle(out / "oracle")
    return oracle.logistic.weights, oracle.logistic.intercepts, oracle.ridge.weights, oracle.ridge.intercepts


def test_the_epoch_is_the_one_with_the_least_development_loss(learned):
    with next((learned / "finetune" / "csv").glob("version_0/metrics.csv")).open() as file:
        losses = [float(row["development_loss"]) for row in csv.DictReader(file) if row["development_loss"]]

    assert len(losses) == LEARNING.epochs
    result = json.loads((learned / "finetune" / "result.json").read_text())
    assert result["development_loss"] == pytest.approx(min(losses), rel=1e-5)
    assert list((learned / "finetune" / "tensorboard").glob("events*"))


def test_each_stage_begins_with_what_the_one_before_it_left(learned):
    ecg, aligned = (load_weights(learned / stage / "weights.safetensors") for stage in ("ecg", "align"))
    tuned = load_weights(learned / "finetune" / "weights.safetensors")

    assert {name.partition(".")[0] for name in aligned} == {"encoder", "alignment"}
    assert ecg.keys() == {name for name in aligned if name.startswith("encoder.")}
    # two epochs move a weight a little: what began elsewhere would be far away
    for before, after in ((ecg, aligned), (aligned, tuned)):
        drift = (after["encoder.positions"] - before["encoder.positions"]).abs().max()
        assert 0 < drift < 0.02


def test_a_finished_stage_is_not_done_again(learned):
    from training.cohort.layout import open_cohort

    weights = learned / "ecg" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    pretrain_ecg(open_cohort(learned / "cohort"), learned / "ecg", PretrainEcg(learning=LEARNING), CPU)
    assert weights.stat().st_mtime_ns == before


def test_a_folder_of_other_settings_is_refused_with_their_names(learned):
    from training.cohort.layout import open_cohort

    with pytest.raises(InvalidSettings, match=r"settings\.mask 0\.75 → 0\.5"):
        pretrain_ecg(open_cohort(learned / "cohort"), learned / "ecg", PretrainEcg(learning=LEARNING, mask=0.5), CPU)


def test_the_oracle_answers_for_new_cines(learned):
    oracle = load_oracle(learned / "oracle")
    features = oracle.encode(np.load(learned / "cohort" / "cines.npy", mmap_mode="r")[:5])

    assert oracle.disease_logits(features).shape == (5, 5)
    assert oracle.phenotypes(features).shape == (5, 82)
    assert np.abs(oracle.phenotypes(features)[:, 0] - 100).max() < 60
    np.testing.assert_allclose(np.linalg.norm(oracle.embed(features), axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(oracle.embed(features), np.load(learned / "align" / "embeddings.npy")[:5], atol=1e-5)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_tiny_cohort(tmp_path_factory.mktemp("small") / "c", folds={"train": 12, "development": 6}, cines=False)


def test_a_label_fraction_is_a_share_of_the_patients_with_all_their_ecgs(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "c", folds={"train": 40, "development": 4}, cines=False, ecgs_a_patient=2)
    rows = labelled_rows(cohort, Finetune(label_fraction=0.2, seed=5))
    chosen = set(cohort.patient_ids[rows])

    assert len(chosen) == 4
    assert set(rows) == {row for row in range(40) if cohort.patient_ids[row] in chosen}
    assert np.array_equal(rows, labelled_rows(cohort, Finetune(label_fraction=0.2, seed=5)))
    assert not np.array_equal(rows, labelled_rows(cohort, Finetune(label_fraction=0.2, seed=6)))
    larger = labelled_rows(cohort, Finetune(label_fraction=0.5, seed=5))
    assert set(rows) < set(larger)
    assert len(labelled_rows(cohort, Finetune(seed=5))) == 40


def test_a_cohort_without_labels_is_refused(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "c", folds={"development": 2}, cines=False)
    with pytest.raises(InvalidSettings, match="no labels"):
        labelled_rows(cohort, Finetune())


def test_a_development_fold_without_labels_is_refused(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "c", folds={"train": 4, "development": 2}, cines=False)
    check_development(cohort)
    rows = cohort.select("development")
    cohort.diseases[rows], cohort.phenotypes[rows] = NAN, NAN
    with pytest.raises(InvalidSettings, match="development fold .* no labels"):
        finetune(cohort, tmp_path / "f", Finetune(learning=LEARNING), CPU)
    assert not (tmp_path / "f").exists()


def test_without_scans_the_alignments_head_rests_as_it_was(learned, small, tmp_path):
    finetune(small, tmp_path, Finetune(learning=LEARNING, min_epoch_rows=12), CPU, aligned=learned / "align")
    before, after = (
        load_weights(learned / "align" / "weights.safetensors"),
        load_weights(tmp_path / "weights.safetensors"),
    )
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("alignment."))
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("encoder."))


def test_those_who_were_measured_are_spread_over_the_development_fold(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "c", folds={"development": 40}, unscanned={"development": 40})
    rows = mixed_development(cohort, seed=0)
    measured = np.isfinite(cohort.phenotypes[rows]).any(axis=1).reshape(5, 16).sum(axis=1)
    assert sorted(rows) == list(range(80))
    assert measured.min() >= 4


def test_the_scaler_leaves_out_what_is_not_known():
    values = np.array([[1.0, NAN, 5], [3.0, NAN, 5], [NAN, NAN, 5]])
    scaler = fit_scaler(values)

    assert scaler.mean == (2, 0, 5)
    assert scaler.deviation == (1, 1, 1)  # where nothing varies, values stay as they are


def test_positive_cases_weigh_as_much_as_they_are_rare_up_to_the_cap():
    diseases = np.array([[1, 1, NAN], [0, 0, NAN], [0, 0, 1], [0, NAN, 1], [0, NAN, 1]], np.float32)
    assert positive_weights(diseases, cap=3).tolist() == [3, 2, 1]


def test_what_is_not_known_of_a_row_adds_nothing_to_any_loss():
    logits, labels = torch.randn(2, 5), torch.tensor([[1.0, 0, NAN, NAN, NAN], [NAN] * 5])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[0, :2], labels[0, :2])
    torch.testing.assert_close(disease_loss(logits, labels, torch.ones(5)), expected)

    z = torch.randn(2, 82, requires_grad=True)
    targets = torch.full((2, 82), NAN)
    targets[1, 3] = 0.5
    loss = phenotype_loss(z, targets)
    loss.backward()
    torch.testing.assert_close(loss, (z[1, 3] - 0.5) ** 2)
    assert int((z.grad != 0).sum()) == 1

    kinds = torch.randn(3, 3)
    expected = torch.nn.functional.cross_entropy(kinds[1:2], torch.tensor([2]))
    torch.testing.assert_close(subtype_loss(kinds, torch.tensor([-1, 2, -1])), expected)
    assert float(subtype_loss(kinds, torch.tensor([-1, -1, -1]))) == 0


def test_rows_without_a_scan_are_left_out_of_the_alignment():
    ecg, cmr = (torch.nn.functional.normalize(torch.randn(4, 8), dim=1) for _ in range(2))
    phi = torch.randn(4, 3)
    cmr[1] = NAN
    some = [0, 2, 3]
    torch.testing.assert_close(alignment_loss(ecg, cmr, phi), alignment_loss(ecg[some], cmr[some], phi[some]))
    cmr[:3] = NAN
    assert float(alignment_loss(ecg, cmr, phi)) == 0


def test_components_are_in_units_of_the_distance_between_two_hearts():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(300, 6)) * [9, 3, 1, 1, 1, 1] + 40).astype(np.float32)
    features[250:260] = NAN
    phi = principal_components(features, np.arange(200))
    distances = np.linalg.norm(phi[:200, None] - phi[None, :200], axis=-1)

    assert np.sqrt((distances**2).mean()) == pytest.approx(1, rel=1e-3)
    assert np.isnan(phi[250:260]).all()
    assert np.isfinite(phi[260:]).all()
    shifted = features.copy()
    shifted[200:] *= 2  # not of the training fold
    np.testing.assert_array_equal(principal_components(shifted, np.arange(200))[:200], phi[:200])


def test_a_rows_scan_is_the_one_that_the_index_names(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "c", folds={"train": 3})
    scans = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert by_row(scans, cohort).tolist() == scans.tolist()
    plain = write_tiny_cohort(tmp_path / "d", folds={"train": 3}, cines=False)
    assert by_row(scans, plain).isnan().all()


def test_a_cohort_without_cines_cannot_teach_the_cmr_encoder(small, tmp_path):
    with pytest.raises(InvalidSettings, match="no cines"):
        pretrain_cmr(small, tmp_path, PretrainCmr(), CPU)


def test_an_encoder_of_another_preset_is_refused(learned, tmp_path):
    from training.cohort.layout import open_cohort

    with pytest.raises(InvalidSettings, match="weights do not fit an encoder of this preset"):
        align(
            open_cohort(learned / "cohort"),
            tmp_path,
            Align(preset="paper", learning=LEARNING),
            CPU,
            cmr=learned / "cmr",
            encoder=learned / "ecg" / "weights.safetensors",
        )


def paper_learners():
    learning = Learning(epochs=1, batch_size=2, learning_rate=1e-4)
    yield lambda: EcgMasker(PretrainEcg(preset="paper", learning=learning)), ()
    yield lambda: CmrMasker(PretrainCmr(preset="paper", learning=learning), 192), ("patches",)
    yield (
        lambda: Aligner(Align(preset="paper", learning=learning, keep=0.1), torch.randn(4, 768)),
        ("features", "components"),
    )
    yield (
        lambda: Finetuner(Finetune(preset="paper", learning=learning, keep=0.1), np.ones(5, np.float32), aligns=True),
        ("diseases", "phenotypes", "subtypes", "embeddings", "components"),
    )


@pytest.mark.filterwarnings("ignore")  # Lightning's remarks on a run without logs, which is none of ours
@pytest.mark.parametrize("place", range(4))
def test_the_papers_sizes_learn_by_the_same_code(place, small):
    make, names = list(paper_learners())[place]
    known = {
        "features": torch.randn(18, 768),
        "components": torch.randn(18, 128),
        "embeddings": torch.nn.functional.normalize(torch.randn(18, 256), dim=1),
        "diseases": torch.randint(0, 2, (18, 5)).float(),
        "phenotypes": torch.randn(18, 82),
        "subtypes": torch.randint(-1, 3, (18,)),
        "patches": torch.randn(18, 36, 192),
    }
    rows = np.arange(4)
    data = TrainingCrops(open_resampled(small), rows, {name: known[name] for name in names}, augmentation=None, seed=0)
    learner = make()
    before = learner.state_dict()
    before = {name: before[name].clone() for name in list(before)[:1]}
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(accelerator="cpu", max_epochs=1, **quiet)
    trainer.fit(learner, load_training(data, 2, seed=0, workers=0))

    assert trainer.global_step == 2
    assert all(not torch.equal(learner.state_dict()[name], tensor) for name, tensor in before.items())


def test_the_commands_hand_their_options_to_the_stages(small, tmp_path):
    run = CliRunner().invoke(
        app,
        ["train", "--device", "cpu", "pretrain-ecg", "--cohort", str(small.folder), "--out", str(tmp_path),
         "--epochs", "1", "--batch-size", "6", "--seed", "3"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["settings"]["learning"] | {"epochs": 1, "batch_size": 6} == config["settings"]["learning"]
    assert config["settings"]["seed"] == 3
    assert (tmp_path / "weights.safetensors").exists()


@pytest.mark.parametrize("wrong", [("--preset", "tiny"), ("--seed", str(2**32))])
def test_an_option_that_cannot_be_is_refused_before_anything_is_begun(wrong, small, tmp_path):
    out = tmp_path / "out"
    run = CliRunner().invoke(app, ["train", "pretrain-cmr", "--cohort", str(small.folder), "--out", str(out), *wrong])
    assert run.exit_code == 2
    assert wrong[0] in run.output
    assert not out.exists()


def test_a_place_that_is_no_folder_is_a_misuse_that_is_named(small, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSettings, match="cannot be a folder"):
        pretrain_ecg(small, tmp_path / "file", PretrainEcg(learning=LEARNING), CPU)


def test_a_broken_configuration_is_named(small, tmp_path):
    (tmp_path / "config.json").touch()
    with pytest.raises(InvalidSettings, match="is broken: remove"):
        pretrain_ecg(small, tmp_path, PretrainEcg(learning=LEARNING), CPU)


def test_a_cohort_that_is_not_there_is_a_misuse_that_is_named(tmp_path):
    run = CliRunner().invoke(app, ["train", "finetune", "--cohort", str(tmp_path / "none"), "--out", str(tmp_path)])
    assert isinstance(run.exception, CardiacNetsError)
    assert "is not a cohort" in str(run.exception)

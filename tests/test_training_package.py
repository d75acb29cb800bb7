"""A bundle says what it learned from, and answers nothing that it did not learn."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_cohort import write_tiny_cohort

from engines.catalog import open_engine
from engines.options import EngineOptions
from inference.bundle import load_bundle
from inference.manifest import GRAPH
from inference.models.network import EcgNetwork
from inference.models.presets import REFERENCE
from inference.phenotypes import MEASUREMENTS
from inference.readout import Readout
from inference.released_weights import ABSENT_THRESHOLD
from schemas.errors import InvalidSettings
from training.cohort.layout import open_cohort
from training.simulation.probe import probe_crops
from training.stages.align import Align, align
from training.stages.calibrate import Calibrate, calibrate, read_heads
from training.stages.cine_generator import open_ecg_network
from training.stages.finetune import Finetune, finetune
from training.stages.package_bundle import describe, package
from training.stages.pretrain_cmr import PretrainCmr, pretrain_cmr
from training.stages.pretrain_ecg import PretrainEcg, pretrain_ecg
from training.stages.settings import Hardware, Learning
from training.stages.stage_folder import StageFolder, check_input
from training.stages.unlearned_heads import Unlearned, find_unlearned, silence

CPU = Hardware(device="cpu")
LEARNING = Learning(epochs=1, batch_size=8, learning_rate=1e-3)
FOLDS = {"train": 8, "development": 4}

pytestmark = [pytest.mark.learns, pytest.mark.exports]


@pytest.fixture(scope="module")
def place(tmp_path_factory, learned):
    """Two cohorts: one of ECGs and diagnoses alone, and a network fine-tuned on it; one with scans."""
    folder = tmp_path_factory.mktemp("package")
    cohort = write_tiny_cohort(folder / "c", folds={}, unscanned=FOLDS, cines=False)
    finetune(cohort, folder / "f", Finetune(learning=LEARNING, min_epoch_rows=8), CPU)
    calibrate(cohort, folder / "k", folder / "f", Calibrate(n_crops=1))
    return folder, cohort, open_cohort(learned / "cohort")


def test_what_no_label_taught_is_a_constant_and_every_report_says_so(place, tmp_path):
    folder, cohort, _ = place
    package(tmp_path / "b", folder / "f", folder / "k", cohort, describe(cohort, folder / "f"))
    bundle = load_bundle(tmp_path / "b")
    assert bundle.reference.weights.endswith("answered by a constant: all measurements, embedding")
    engine = open_engine("onnxruntime", bundle.folder / GRAPH, EngineOptions(threads=1))
    findings = Readout(bundle.manifest).read(engine.run(probe_crops()), 1)
    engine.close()
    assert {phenotype.value for found in findings for phenotype in found.phenotypes} == {0.0}
    assert len({tuple(found.embedding) for found in findings}) == 1
    assert len({tuple(risk.probability for risk in found.risks) for found in findings}) == len(findings)
    with pytest.raises(InvalidSettings, match="aligned with no cardiac MR"):
        open_ecg_network(bundle.folder)  # every ECG would be drawn the same heart


def test_a_manifest_has_room_for_the_names_of_whatever_was_not_learned():
    longest = sorted(range(82), key=lambda place: -len(MEASUREMENTS[place].name))
    for count in range(83):
        for order in (longest, longest[::-1]):
            without = np.isin(np.arange(82), order[:count])
            names = ", ".join(Unlearned(np.ones(5, bool), without, subtype=True, embedding=True).names())
            assert len(names) < 1700
    assert "all measurements but LVEF, subtype" in ", ".join(
        Unlearned(np.zeros(5, bool), np.arange(82) != 3, subtype=True, embedding=False).names()
    )


def test_only_what_was_not_learned_falls_silent():
    network = EcgNetwork(REFERENCE).eval()
    crops = torch.from_numpy(probe_crops())
    diseases, phenotypes = np.zeros(5, bool), np.zeros(82, bool)
    diseases[2] = phenotypes[[3, 40]] = True
    unlearned = Unlearned(diseases, phenotypes, subtype=True, embedding=False)
    before = network(crops)
    silence(network, unlearned)
    after = network(crops)
    assert (after["disease_logits"][:, 2] == 0).all()
    assert (after["phenotypes"][:, [3, 40]] == 0).all()
    assert (after["subtype_logits"] == 0).all()
    for name, silent in (("disease_logits", diseases), ("phenotypes", phenotypes), ("embedding", np.zeros(256, bool))):
        assert torch.equal(after[name][:, ~silent], before[name][:, ~silent])
    assert list(unlearned.names()) == ["heart failure", MEASUREMENTS[3].name, MEASUREMENTS[40].name, "subtype"]


def test_a_disease_without_labels_is_never_flagged(place):
    folder, _, _ = place
    heads = read_heads(folder / "k")
    unlearned = Unlearned(np.eye(5, dtype=bool)[1], np.zeros(82, bool), subtype=False, embedding=False)
    silenced = [unlearned.head(head) for head in heads]
    assert silenced[1].threshold == ABSENT_THRESHOLD
    assert silenced[1].calibration is None
    assert silenced[0] == heads[0]


def test_what_nobody_had_was_not_learned(place):
    _, cohort, _ = place
    labels = SimpleNamespace(
        diseases=cohort.diseases.copy(), phenotypes=cohort.phenotypes, subtypes=np.zeros_like(cohort.subtypes)
    )
    labels.diseases[:, 1] = 0  # known of everybody, and nobody has it
    labels.diseases[:, 4] = 1
    unlearned = find_unlearned(labels, cohort.select("train"), aligned=True)
    assert list(unlearned.names()) == ["cardiomyopathy", "pericarditis", "all measurements", "subtype"]


def test_folders_that_do_not_belong_together_are_refused(place, tmp_path):
    folder, cohort, scanned = place
    label = describe(cohort, folder / "f")
    with pytest.raises(InvalidSettings, match="made from another cohort"):
        package(tmp_path / "b", folder / "f", folder / "k", scanned, label)
    finetune(cohort, tmp_path / "again", Finetune(learning=LEARNING, min_epoch_rows=8, seed=1), CPU)
    with pytest.raises(InvalidSettings, match="was not made with.*--finetuned"):
        package(tmp_path / "b", tmp_path / "again", folder / "k", cohort, label)
    calibrate(scanned, tmp_path / "elsewhere", folder / "f", Calibrate(n_crops=1))
    with pytest.raises(InvalidSettings, match="elsewhere was made from another cohort"):
        package(tmp_path / "b", folder / "f", tmp_path / "elsewhere", cohort, label)
    check_input(folder / "k", "weights", StageFolder(folder / "f").weights, "finetuned")


def test_the_scans_of_another_cohort_are_refused(learned, tmp_path):
    other = write_tiny_cohort(tmp_path / "o", folds={"train": 9, "development": 4})
    with pytest.raises(InvalidSettings, match="made from another cohort"):
        align(other, tmp_path / "a", Align(learning=LEARNING), CPU, cmr=learned / "cmr")
    with pytest.raises(InvalidSettings, match="made from another cohort"):
        finetune(other, tmp_path / "f", Finetune(learning=LEARNING), CPU, aligned=learned / "cmr")


@pytest.mark.parametrize("missing", ["train", "development"])
def test_a_fold_in_which_nobody_was_scanned_is_named_before_anything_is_begun(missing, tmp_path):
    folds = {fold: n for fold, n in FOLDS.items() if fold != missing}
    cohort = write_tiny_cohort(tmp_path / "c", folds=folds, unscanned={missing: 4})
    with pytest.raises(InvalidSettings, match=f"nobody in the {missing} fold of .* was scanned"):
        pretrain_cmr(cohort, tmp_path / "cmr", PretrainCmr(learning=LEARNING), CPU)
    assert not (tmp_path / "cmr").exists()


@pytest.mark.parametrize("missing", ["train", "development"])
def test_an_empty_fold_is_named(missing, tmp_path):
    cohort = write_tiny_cohort(tmp_path / "c", folds={fold: n for fold, n in FOLDS.items() if fold != missing})
    with pytest.raises(InvalidSettings, match=f"nobody in its {missing} fold"):
        pretrain_ecg(cohort, tmp_path / "ecg", PretrainEcg(learning=LEARNING), CPU)

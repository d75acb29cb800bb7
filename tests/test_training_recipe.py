"""The recipe: what it plans, what it refuses, and that one command goes from nothing to a bundle and its baselines."""

import json
import multiprocessing
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from tiny_cohort import write_tiny_cohort
from typer.testing import CliRunner

from inference.bundle import load_bundle
from inference.verified_folder import sha256
from schemas.errors import InvalidSettings
from stream.cli import app
from training import recipe as recipe_module
from training.evaluation.cmr_oracle import load_oracle
from training.recipe import Recipe, RecipeFolders, begin_recipe, plan_steps, run_recipe
from training.simulation.probe import probe_crops
from training.stages.package_bundle import BundleLabel, describe
from training.stages.settings import Hardware

pytestmark = [pytest.mark.learns, pytest.mark.exports]

CPU = Hardware(device="cpu")
SMALL = Recipe(
    patients=60,
    unmeasured=0,
    unscanned=0,
    pretrain_ecg_epochs=1,
    pretrain_cmr_epochs=1,
    align_epochs=1,
    finetune_epochs=1,
    batch_size=8,
    align_batch_size=8,
    cmr_batch_size=8,
)


def test_the_default_recipe_is_planned_for_less_than_two_hours_on_two_cores(tmp_path):
    steps = list(plan_steps(RecipeFolders(tmp_path), Recipe(), CPU))

    assert 60 < minutes_of(steps, at_once=2) < 120
    assert [step.name for step in steps][:2] == ["simulate", "pretrain-ecg"]
    assert not list(tmp_path.iterdir())


def minutes_of(steps, *, at_once):
    """Return when the last step ends, if of those that can begin the first one does."""
    ends, cores, waiting = {}, [0.0] * at_once, list(steps)
    while waiting:
        cores.sort()
        begins = {
            step.name: max([ends[need] for need in step.needs], default=0)
            for step in waiting
            if all(need in ends for need in step.needs)
        }
        soonest = min(max(begin, cores[0]) for begin in begins.values())
        step = next(step for step in waiting if max(begins.get(step.name, np.inf), cores[0]) == soonest)
        ends[step.name] = cores[0] = soonest + step.minutes
        waiting.remove(step)
    return max(ends.values())


def test_the_command_asks_for_the_default_recipe(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(recipe_module, "run_recipe", lambda out, recipe, *_, **__: asked.append(recipe) or out)
    for arguments in ([], ["--patients", "20"], ["--patients", "20", "--unmeasured", "0", "--unscanned", "5"]):
        result = CliRunner().invoke(app, ["train", "reference", "--out", str(tmp_path), *arguments])
        assert result.exit_code == 0, result.output
    small = Recipe(patients=20, unmeasured=60)
    assert asked == [Recipe(), small, msgspec.structs.replace(small, unmeasured=0, unscanned=5)]


def test_an_error_of_a_step_ends_those_beside_it(tmp_path):
    write_tiny_cohort(tmp_path / "cohort", folds={"train": 8, "development": 4}, cines=False)
    with pytest.raises(InvalidSettings, match="no cines"):
        run_recipe(tmp_path, msgspec.structs.replace(SMALL, pretrain_ecg_epochs=10_000), CPU, print, at_once=2)
    assert not multiprocessing.active_children()


def test_a_folder_is_kept_for_one_recipe(tmp_path):
    begin_recipe(tmp_path, Recipe(seed=1))
    begin_recipe(tmp_path, Recipe(seed=1))
    with pytest.raises(InvalidSettings, match="another recipe"):
        begin_recipe(tmp_path, Recipe(seed=2))
    assert json.loads((tmp_path / "recipe.json").read_text())["seed"] == 1
    (tmp_path / "recipe.json").write_text('{"seed": 1, "of_another_version": true}')
    with pytest.raises(InvalidSettings, match="not a recipe of this version"):
        begin_recipe(tmp_path, Recipe(seed=1))


def test_one_command_goes_from_a_cohort_to_a_bundle_and_its_baselines_and_does_nothing_twice(tmp_path):
    folds = {"train": 24, "development": 28, "test": 8}
    unmeasured, unscanned = {"train": 10, "development": 2}, {"train": 12, "development": 3}
    write_tiny_cohort(tmp_path / "cohort", folds=folds, unmeasured=unmeasured, unscanned=unscanned)
    said = []
    bundle = load_bundle(run_recipe(tmp_path, SMALL, CPU, said.append, at_once=2))
    manifest = bundle.manifest

    assert manifest.trained
    assert manifest.weights == "demonstration weights, simulated cohort"
    assert "87 patients (46 train, 33 development, 8 test; 72 scans, 60 ECGs with measurements)" in manifest.trained_on
    assert manifest.files["weights.safetensors"] == sha256(tmp_path / "finetune" / "weights.safetensors")
    assert 80 < manifest.phenotypes[0].mean < 120
    assert all(head.threshold == head.operating_points.family_wise for head in manifest.diseases)
    for name in ("without_alignment", "from_scratch"):
        other = load_bundle(tmp_path / "baselines" / name).manifest
        assert other.name == f"cardiacnets-reference-{name.replace('_', '-')}"
        assert other.notes.startswith("A baseline")
        assert other.files["weights.safetensors"] != manifest.files["weights.safetensors"]
    assert load_oracle(tmp_path / "baselines" / "cmr_oracle").tower.encoder.width == 128

    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("weights.safetensors")}
    run_recipe(tmp_path, SMALL, CPU, said.append)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert "finetune" in " ".join(said)


def test_a_probe_is_made_of_generated_ecgs_that_differ():
    crops = probe_crops()
    assert crops.shape == (6, 12, 2250)
    assert abs(crops[0] - crops[1]).max() > 0.5


def test_a_bundle_of_a_real_cohort_claims_no_simulation(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "c", folds={"train": 3}, cines=False)
    (tmp_path / "f").mkdir()
    config = {"stage": "finetune", "settings": {"preset": "paper"}}
    (tmp_path / "f" / "config.json").write_text(json.dumps(config))
    (tmp_path / "f" / "result.json").write_text("{}")
    real = replace(cohort, description=msgspec.structs.replace(cohort.description, source="mimic-iv-ecg"))
    label = describe(real, tmp_path / "f")

    assert isinstance(label, BundleLabel)
    assert label.name == "cardiacnets-paper"
    assert "simulated" not in f"{label.weights} {label.notes}"
    assert "3 train" in label.trained_on

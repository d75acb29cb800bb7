"""What commands write of patients is their user's alone. Models are as the user wants new files to be."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from mimic_archive import Archive
from waiting import PATIENCE_S

pytestmark = pytest.mark.commands

ROOT = Path(__file__).parent.parent


def run(folder, *arguments):
    command = [sys.executable, "-m", "stream", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        umask=0o022,
        cwd=folder,
        env=environment,
    )


def modes_below(path):
    below = [path, *path.rglob("*")] if path.is_dir() else [path]
    return {(place.is_dir(), stat.S_IMODE(place.stat().st_mode)) for place in below}


def test_a_simulated_and_an_imported_cohort_are_private(tmp_path):
    assert run(tmp_path, "simulate", "--patients", 2, "--out", "simulated", "--no-cines").returncode == 0
    archive = Archive(tmp_path / "archive")
    for number, fold in enumerate(("train", "development", "test")):
        archive.add(40000000 + number, 10000000 + number, fold=fold)
    archive.write()
    done = run(tmp_path, "cohort", "import", "mimic", "archive", "--out", "imported", "--errors", "notes.jsonl")
    assert done.returncode == 0, done.stderr
    for name in ("simulated", "imported"):
        assert modes_below(tmp_path / name) == {(True, 0o700), (False, 0o600)}
    assert modes_below(tmp_path / "notes.jsonl") == {(False, 0o600)}


def test_a_cine_and_the_notes_of_a_run_are_private(tmp_path):
    assert run(tmp_path, "simulate", "--patients", 1, "--out", "ecgs", "--format", "wfdb").returncode == 0
    (ecg,) = (tmp_path / "ecgs").rglob("*.hea")
    done = run(tmp_path, "screen", ecg, "--cine", "cine.gif", "--errors", "notes.jsonl", "--engine", "onnxruntime")
    assert done.returncode == 0, done.stderr
    for written in (ecg, tmp_path / "notes.jsonl", tmp_path / "cine.gif"):
        assert modes_below(written) == {(False, 0o600)}


def test_a_bundle_may_be_read_by_another_user(tmp_path):
    pytest.importorskip("onnxscript", reason="needs onnxscript, to export a graph")
    done = run(tmp_path, "bundle", "create", "--out", "bundle")
    assert done.returncode == 0, done.stderr
    assert modes_below(tmp_path / "bundle") == {(True, 0o755), (False, 0o644)}

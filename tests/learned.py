"""A pytest plugin: what several files start from is learned once a run, by whichever process asks first."""

import os

import pytest
from filelock import FileLock

FOLDS = {"train": 24, "development": 28, "test": 8}
EPOCHS = 2


def learn_stages(out, test_seed=0):
    """Run all stages on a cohort whose test fold depends on the seed."""
    from tiny_cohort import write_tiny_cohort

    from training.evaluation.cmr_oracle import fit_oracle
    from training.stages.align import Align, align
    from training.stages.calibrate import Calibrate, calibrate
    from training.stages.finetune import Finetune, finetune
    from training.stages.pretrain_cmr import PretrainCmr, pretrain_cmr
    from training.stages.pretrain_ecg import PretrainEcg, pretrain_ecg
    from training.stages.settings import Hardware, Learning

    learning, cpu = Learning(epochs=EPOCHS, batch_size=12, learning_rate=1e-3), Hardware(device="cpu")
    cohort = write_tiny_cohort(out / "cohort", folds=FOLDS, test_seed=test_seed)
    ecg = pretrain_ecg(cohort, out / "ecg", PretrainEcg(learning=learning), cpu)
    pretrain_cmr(cohort, out / "cmr", PretrainCmr(learning=learning), cpu)
    align(cohort, out / "align", Align(learning=learning), cpu, cmr=out / "cmr", encoder=ecg.weights)
    tuning = Finetune(learning=learning, min_epoch_rows=24)
    finetune(cohort, out / "finetune", tuning, cpu, aligned=out / "align")
    calibrate(cohort, out / "calibrate", out / "finetune", Calibrate(n_crops=1))
    fit_oracle(cohort, out / "oracle", out / "cmr", out / "align")


def once(factory, name, learn):
    """Return a folder in which `learn(folder)` has come to its end, in this process or in another one of this run."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each process has a folder of its own in that of the run
        root = root.parent
    folder, finished = root / name, root / f"{name}.finished"
    with FileLock(root / f"{name}.lock"):
        if not finished.exists():
            folder.mkdir()
            learn(folder)
            finished.touch()
    return folder


@pytest.fixture(scope="session")
def learned(tmp_path_factory):
    """Give the folder of a cohort and of all stages that learned from it; nobody may change it."""
    return once(tmp_path_factory, "learned-stages", learn_stages)

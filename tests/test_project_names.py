"""Our import names are ours alone: `schemas`, `inference`, … are names that others might take as well."""

from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

OURS = ("schemas", "engines", "inference", "training", "stream")
ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", OURS)
def test_no_other_installed_distribution_owns_the_name(name):
    assert set(packages_distributions().get(name, [])) <= {"cardiacnets"}


@pytest.mark.parametrize("name", OURS)
def test_the_name_means_the_package_of_this_tree(name):
    assert Path(import_module(name).__file__).parent == ROOT / name


def test_no_folder_of_tests_shadows_a_package():
    assert not {path.name for path in Path(__file__).parent.iterdir() if path.is_dir()} & set(OURS)

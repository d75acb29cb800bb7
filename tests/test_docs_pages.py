"""The documents hold together: links, paths and anchors are there, and the pages that must be short are."""

import re
import subprocess
import sys

import pytest
from documents import ROOT, documents, name_of, prose, text_of

LINES = {"README.md": 120, "ARCHITECTURE.md": 150}
LINK = re.compile(r"\]\(([^)\s]+)\)")
SUFFIXES = "py|md|js|mjs|json|yaml|yml|toml|avsc|cff|png|npz|safetensors|onnx"
PATH = re.compile(rf"`((?:[\w.-]+/)+(?:[\w.-]+\.(?:{SUFFIXES}))?)`")
OURS = ("schemas/", "engines/", "inference/", "training/", "stream/", "docs/", "examples/", "tests/", "docker/")
CLICKS = {
    "which topics and rights": ("docs/operations.md", "## Topics and rights"),
    "all settings": ("docs/reference/settings.md", "`CARDIACNETS_BROKER`"),
    "all codes": ("docs/reference/codes.md", "`flat_lead`"),
    "how a vendor writes a record": ("docs/devices.md", "## A record in twenty lines"),
    "how to add an engine": ("ARCHITECTURE.md", "**An engine.**"),
    "how to add a stage": ("docs/researchers.md", "## A stage of your own"),
    "how to train on own pairs": ("docs/researchers.md", "## Train on your own pairs"),
    "what a rejected record says": ("docs/devices.md", "## What a rejected record says"),
    "how to upgrade a model": ("docs/operations.md", "## Upgrade a model"),
}


def links(document):
    """Yield what a document links to in the repository: a file, and an anchor in it or an empty string."""
    for target in LINK.findall(prose(document)):
        if not re.match(r"\w+:", target):
            path, _, anchor = target.partition("#")
            yield (document.parent / path).resolve() if path else document, anchor


def anchor_of(heading):
    """Return the anchor of a heading, as GitHub and the site make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).strip().replace(" ", "-")


def anchors(document):
    return {anchor_of(heading) for heading in re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)}


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_every_link_leads_somewhere(document):
    for path, anchor in links(document):
        assert path.exists(), path
        if anchor:
            assert anchor in anchors(path), f"{path}#{anchor}"


@pytest.mark.parametrize("document", [path for path in documents() if path.name != "CHANGELOG.md"], ids=name_of)
def test_every_path_that_is_named_exists(document):
    named = [path for path in PATH.findall(text_of(document)) if path.startswith(OURS)]
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize(("name", "most"), LINES.items())
def test_a_page_that_must_be_short_is(name, most):
    assert len(text_of(ROOT / name).splitlines()) <= most


@pytest.mark.parametrize(("page", "answer"), CLICKS.values(), ids=CLICKS)
def test_a_strangers_question_is_answered_within_two_clicks_of_the_readme(page, answer):
    assert answer in text_of(ROOT / page)
    first = {path for path, _ in links(ROOT / "README.md")}
    second = {path for near in first if near.suffix == ".md" for path, _ in links(near)}
    assert ROOT / page in first | second


def test_every_decision_is_in_the_index_and_has_its_four_parts():
    folder = ROOT / "docs" / "decisions"
    decisions = sorted(folder.glob("0*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        text = text_of(path)
        assert f"({path.name})" in text_of(folder / "README.md")
        assert re.search(r"^Status: (accepted|superseded by \[\d{4}\].*), \d{4}-\d\d-\d\d", text, re.MULTILINE), path
        assert [part for part in ("## Context", "## Decision", "## Consequences") if part not in text] == []


def test_the_site_builds_strictly_and_asks_no_other_host(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "docs" / "operations" / "index.html").exists()
    for page in tmp_path.rglob("*.html"):
        asked = re.findall(
            r'<(?:script|img|link)[^>]*(?:src|href)="(https?://[^"]+)"', page.read_text(encoding="utf-8")
        )
        assert not asked, page


def test_every_page_of_the_site_is_in_its_menu():
    menu = text_of(ROOT / "mkdocs.yml")
    assert not [name for name in map(name_of, documents()) if name not in menu and "/decisions/0" not in name]


def test_the_citation_and_the_changelog_name_the_version_of_the_package():
    (version,) = re.findall(r'^version = "(.+)"', text_of(ROOT / "pyproject.toml"), re.MULTILINE)
    assert f"\nversion: {version}\n" in text_of(ROOT / "CITATION.cff")
    assert re.search(r"^## \[(.+?)\]", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)[1] == version

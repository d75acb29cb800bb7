"""Manifests: those of today keep their version while the format grows, and a newer format is refused in a sentence.

`manifests_v1` holds copies of manifests of format 1, as they were written. The copies must never change.
"""

import json
import shutil
from dataclasses import replace
from functools import reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle import BUNDLES, load_bundle
from inference.generator_manifest import GENERATORS
from inference.manifest import FORMAT_VERSION, PROBE, Manifest, fingerprint
from schemas.errors import CorruptBundle

FROZEN = Path(__file__).parent / "manifests_v1"
SMALL_BUNDLE = FROZEN / "small_bundle"
VERSIONS = {
    "bundle": "0.1.0+c48a0d4981d5",
    "from_scratch": "0.1.0+974723917753",
    "without_alignment": "0.1.0+e05b0ba4fa97",
    "generator": "0.1.0+19abd26501cf",
}
KINDS = {"bundle": BUNDLES, "from_scratch": BUNDLES, "without_alignment": BUNDLES, "generator": GENERATORS}


def path_of(name):
    return FROZEN / f"{name}.json"


def parse(name, text=None, kind=None):
    path = path_of(name)
    return (kind or KINDS[name]).parse(path.read_bytes() if text is None else text, path)


def edited(name, change):
    content = json.loads(path_of(name).read_text())
    change(content)
    return json.dumps(content, ensure_ascii=False).encode()


def grown(kind):
    """What a later program reads: this struct and each struct within it have two optional fields more."""
    if get_origin(kind) is tuple:
        return tuple[grown(get_args(kind)[0]), ...]
    if isinstance(kind, UnionType):
        return reduce(or_, map(grown, get_args(kind)))
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return kind
    fields = [(field.name, grown(field.type), field.default) for field in msgspec.structs.fields(kind)]
    return msgspec.defstruct(
        f"Grown{kind.__name__}",
        [
            ("added_first", str | None, "a default"),
            *(field[:2] if field[2] is msgspec.NODEFAULT else field for field in fields),
            ("added_last", int, 7),
        ],
        bases=(kind,),
        tag=kind.__struct_config__.tag,
        tag_field=kind.__struct_config__.tag_field,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


@pytest.mark.parametrize("name", VERSIONS)
def test_every_manifest_of_today_keeps_its_version(name):
    assert parse(name).version == VERSIONS[name]


def test_a_bundle_of_today_loads():
    bundle = load_bundle(SMALL_BUNDLE)

    assert bundle.reference.version == "0.1.0+7f7a630b05d5"
    assert bundle.graph.read_bytes() == b"a graph\n"
    assert bundle.manifest.diseases == parse("bundle").diseases


@pytest.mark.parametrize("name", VERSIONS)
def test_optional_fields_of_a_later_program_leave_the_version_of_todays_manifests(name):
    kind = replace(KINDS[name], manifest=grown(KINDS[name].manifest))

    manifest = parse(name, kind=kind)

    assert manifest.version == VERSIONS[name]
    assert (manifest.added_first, manifest.added_last) == ("a default", 7)
    within = manifest.sampling if name == "generator" else manifest.diseases[0].calibration
    assert within.added_last == 7


def test_a_bundle_of_today_loads_in_a_later_program():
    later = replace(BUNDLES, manifest=grown(Manifest))

    assert later.read(SMALL_BUNDLE).version == load_bundle(SMALL_BUNDLE).reference.version


def test_a_field_that_was_written_counts_even_if_it_says_what_its_default_says(tmp_path):
    later = replace(BUNDLES, manifest=grown(Manifest))
    copy = shutil.copytree(SMALL_BUNDLE, tmp_path / "copy")

    written = later.write(copy, later.read(copy))

    assert written.version != load_bundle(SMALL_BUNDLE).reference.version
    assert later.read(copy) == written


@pytest.mark.parametrize("name", VERSIONS)
@pytest.mark.parametrize("change", [lambda m: m.update(surprise=1), lambda m: m.pop("trained_on")])
def test_a_manifest_of_a_newer_format_is_refused_for_its_format_whatever_its_fields(name, change):
    def renew(content):
        change(content)
        content["format_version"] = FORMAT_VERSION + 1

    with pytest.raises(CorruptBundle) as refusal:
        parse(name, edited(name, renew))

    assert str(refusal.value) == (
        f"{path_of(name)} is a manifest of format 2, and this program reads format 1: install a newer cardiacnets, "
        f"or use a {KINDS[name].name} of format 1"
    )


@pytest.mark.parametrize("written", ["2", 1.5, None, 0, -1, [2], True])
def test_a_format_that_is_no_number_of_a_format_is_refused(written):
    with pytest.raises(CorruptBundle, match=r"not a manifest of a model bundle.*format_version"):
        parse("bundle", edited("bundle", lambda m: m.update(format_version=written)))


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("bundle", lambda m: m.update(surprise=1), "surprise"),
        ("bundle", lambda m: m["input"].update(surprise=1), "input.surprise"),
        ("bundle", lambda m: m["diseases"][1].update({"a `quoted` - at `$.one`\n": 1}), "a `quoted` - at `$.one`\n"),
        ("from_scratch", lambda m: m["diseases"][0]["calibration"].update(surprise=1), "calibration.surprise"),
        ("generator", lambda m: m["sampling"].update(seed=1), "sampling.seed"),
    ],
)
def test_an_unknown_field_of_the_known_format_is_named(name, change, field):
    with pytest.raises(CorruptBundle, match="install a newer cardiacnets") as refusal:
        parse(name, edited(name, change))

    assert f"{field}, which this program does not know" in str(refusal.value)


def test_a_field_name_of_a_megabyte_does_not_fill_the_log():
    with pytest.raises(CorruptBundle, match="does not know") as refusal:
        parse("bundle", edited("bundle", lambda m: m.update({"x" * 900_000: 1})))

    assert len(str(refusal.value)) < 1000


def test_white_space_and_the_order_of_the_files_do_not_count():
    text = path_of("bundle").read_bytes()
    content = json.loads(text)
    content["files"] = dict(reversed(content["files"].items()))
    rewritten = json.dumps(content, indent=7).encode()

    assert rewritten != text
    assert parse("bundle", rewritten) == parse("bundle")


def test_only_evidence_may_differ_under_one_version():
    text = path_of("bundle").read_bytes()
    for name in json.loads(text)["files"]:
        other = edited("bundle", lambda m, name=name: m["files"].update({name: "0" * 64}))
        assert (fingerprint(other, Manifest.evidence) == fingerprint(text, Manifest.evidence)) == (name == PROBE)


@given(
    threshold=st.floats(0, 1),
    temperature=st.floats(1e-300, 1e9),
    bias=st.floats(-1e9, 1e9),
    notes=st.text(min_size=1, max_size=50),
)
def test_the_fingerprint_of_what_is_read_and_written_again_is_the_same(threshold, temperature, bias, notes):
    """Every number and every text keeps its spelling, so a manifest's version does not depend on who formats it."""

    def change(content):
        content.update(notes=notes)
        content["diseases"][0].update(
            threshold=threshold, calibration={"method": "temperature", "temperature": temperature, "bias": bias}
        )

    text = edited("bundle", change)
    assert b"eligibility" not in text
    again = msgspec.json.encode(msgspec.json.decode(text, type=Manifest))

    assert fingerprint(again, ()) == fingerprint(text, ())

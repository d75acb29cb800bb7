"""The readout against cases worked by hand, and what it promises of any numbers an engine may return."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.export import untrained_manifest
from inference.manifest import IsotonicCalibration, TemperatureCalibration
from inference.readout import Finding, Readout, calibrate
from schemas.errors import EngineFailed
from schemas.messages import DISEASES, SUBTYPES

MANIFEST = untrained_manifest("reference", n_crops=3)
SIZES = {"disease_logits": 5, "phenotypes": 82, "subtype_logits": 3, "embedding": 256}
WILD = st.floats(width=32, allow_nan=True, allow_infinity=True)


def outputs_of(rows, seed=0):
    draw = np.random.default_rng(seed)
    return {name: draw.standard_normal((rows, size)).astype(np.float32) for name, size in SIZES.items()}


def with_disease(index, **fields):
    heads = list(MANIFEST.diseases)
    heads[index] = msgspec.structs.replace(heads[index], **fields)
    return msgspec.structs.replace(MANIFEST, diseases=tuple(heads))


@st.composite
def calibrations(draw):
    if draw(st.booleans()):
        return TemperatureCalibration(temperature=draw(st.floats(0.01, 100)), bias=draw(st.floats(-50, 50)))
    logits = sorted(draw(st.sets(st.floats(-40, 40), min_size=2, max_size=9)))
    probabilities = draw(st.lists(st.floats(0, 1), min_size=len(logits), max_size=len(logits)))
    return IsotonicCalibration(logits=tuple(logits), probabilities=tuple(sorted(probabilities)))


def test_logits_are_averaged_over_the_crops_of_a_record_before_the_sigmoid():
    outputs = outputs_of(6)
    outputs["disease_logits"][:, 1] = [0, 1, 5, -3, -3, 0]

    first, second = Readout(MANIFEST).read(outputs, n_crops=3)

    assert first.risks[1].probability == round(1 / (1 + math.exp(-2)), 6)
    assert second.risks[1].probability == round(1 / (1 + math.exp(2)), 6)
    assert [risk.disease for risk in first.risks] == list(DISEASES)
    assert first.risks[1].flagged
    assert not second.risks[1].flagged


def test_a_finding_carries_the_mean_logits_before_calibration():
    outputs = outputs_of(6)
    manifest = with_disease(3, calibration=TemperatureCalibration(temperature=3.0, bias=1.0))

    for number, finding in enumerate(Readout(manifest).read(outputs, n_crops=3)):
        crops = outputs["disease_logits"][3 * number : 3 * number + 3].astype(np.float64)
        np.testing.assert_allclose(finding.logits, crops.mean(axis=0), rtol=1e-12)
        for logit, risk, head in zip(finding.logits, finding.risks, manifest.diseases, strict=True):
            assert risk.probability == round(float(calibrate(np.array(logit), head.calibration)), 6)


def test_a_probability_that_reports_as_its_threshold_is_flagged():
    outputs = outputs_of(1)
    outputs["disease_logits"][0] = [0, -1e-7, -1e-5, 1e-5, -9]

    (finding,) = Readout(MANIFEST).read(outputs, n_crops=1)

    assert [(risk.probability, risk.flagged) for risk in finding.risks[:4]] == [
        (0.5, True),
        (0.5, True),
        (0.499998, False),
        (0.500002, True),
    ]
    assert finding.flagged_diseases == ("coronary_artery_disease", "cardiomyopathy", "pulmonary_hypertension")


def test_a_disease_is_calibrated_as_the_manifest_says_and_the_others_are_left_alone():
    outputs = outputs_of(1)
    outputs["disease_logits"][0] = 3.0
    calibration = TemperatureCalibration(temperature=2.0, bias=-2.5)
    manifest = with_disease(2, calibration=calibration, threshold=0.2)

    (finding,) = Readout(manifest).read(outputs, n_crops=1)

    assert finding.risks[2].probability == round(1 / (1 + math.exp(1)), 6)  # 3 / 2 - 2.5 = -1
    assert finding.risks[2].flagged
    assert finding.risks[2].threshold == 0.2
    assert finding.risks[3].probability == round(1 / (1 + math.exp(-3)), 6)


def test_isotonic_calibration_goes_from_knot_to_knot_and_is_level_outside():
    calibration = IsotonicCalibration(logits=(-2.0, 0.0, 4.0), probabilities=(0.1, 0.1, 0.9))
    logits = np.array([-1e9, -2, -1, 0, 1, 2, 4, 1e9])

    np.testing.assert_allclose(calibrate(logits, calibration), [0.1, 0.1, 0.1, 0.1, 0.3, 0.5, 0.9, 0.9])


@given(calibration=st.none() | calibrations(), logits=st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=30))
def test_any_calibration_gives_probabilities_that_never_fall_where_the_logit_rises(calibration, logits):
    probabilities = calibrate(np.sort(np.array(logits)), calibration)

    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert (np.diff(probabilities) >= -1e-12).all()


def test_z_scores_become_values_with_units():
    head = msgspec.structs.replace(MANIFEST.phenotypes[3], mean=60.0, sd=6.0)
    phenotypes = (*MANIFEST.phenotypes[:3], head, *MANIFEST.phenotypes[4:])
    outputs = outputs_of(2)
    outputs["phenotypes"][:, 3] = [-1.0, -2.0]

    (finding,) = Readout(msgspec.structs.replace(MANIFEST, phenotypes=phenotypes)).read(outputs, n_crops=2)

    ejection_fraction = finding.phenotypes[3]
    assert (ejection_fraction.name, ejection_fraction.value, ejection_fraction.unit) == ("LVEF", 51.0, "%")
    assert len(finding.phenotypes) == 82


def test_subtypes_share_one_probability():
    outputs = outputs_of(2)
    outputs["subtype_logits"][:] = np.log([[1, 2, 5], [1, 2, 5]])

    (finding,) = Readout(MANIFEST).read(outputs, n_crops=2)

    assert finding.subtype == dict(zip(SUBTYPES, (0.125, 0.25, 0.625), strict=True))


def test_the_embedding_is_the_normalised_mean_of_the_crops():
    outputs = outputs_of(2)
    outputs["embedding"][:] = 0
    outputs["embedding"][0, 0] = outputs["embedding"][1, 1] = 1

    (finding,) = Readout(MANIFEST).read(outputs, n_crops=2)

    np.testing.assert_allclose(finding.embedding[:3], [math.sqrt(0.5), math.sqrt(0.5), 0], atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", SIZES)
def test_a_record_whose_answer_is_not_finite_fails_alone(name, value):
    outputs = outputs_of(9)
    expected = Readout(MANIFEST).read(outputs, n_crops=3)
    outputs[name][4, -1] = value

    findings = Readout(MANIFEST).read(outputs, n_crops=3)

    assert isinstance(findings[1], EngineFailed)
    assert [f.risks for f in findings[::2]] == [f.risks for f in expected[::2]]
    np.testing.assert_array_equal(findings[2].embedding, expected[2].embedding)


def test_crops_whose_embeddings_cancel_out_fail_their_record():
    outputs = outputs_of(2)
    outputs["embedding"][1] = -outputs["embedding"][0]

    assert isinstance(Readout(MANIFEST).read(outputs, n_crops=2)[0], EngineFailed)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda outputs: outputs.pop("phenotypes"),
        lambda outputs: outputs.update(phenotypes=outputs["phenotypes"][:, :81]),
        lambda outputs: outputs.update(disease_logits=outputs["disease_logits"][:5]),
        lambda outputs: outputs.update(embedding=outputs["embedding"][0]),
    ],
)
def test_an_answer_of_the_wrong_shape_fails_the_batch(break_it):
    outputs = outputs_of(6)
    break_it(outputs)

    with pytest.raises(EngineFailed, match="must have the shape"):
        Readout(MANIFEST).read(outputs, n_crops=3)


def test_outputs_of_unequal_numbers_of_records_fail_the_batch():
    outputs = outputs_of(6)
    outputs["embedding"] = outputs["embedding"][:3]

    with pytest.raises(EngineFailed, match="disagree"):
        Readout(MANIFEST).read(outputs, n_crops=3)


def test_an_empty_batch_has_no_findings():
    assert Readout(MANIFEST).read(outputs_of(0), n_crops=3) == []


def test_reading_leaves_the_engines_arrays_as_they_were():
    outputs = outputs_of(2)
    outputs["phenotypes"][0, 0] = np.nan
    copies = {name: output.copy() for name, output in outputs.items()}
    Readout(MANIFEST).read(outputs, n_crops=1)

    for name, output in outputs.items():
        np.testing.assert_array_equal(output, copies[name])


@settings(max_examples=60)
@given(
    places=st.lists(st.tuples(st.sampled_from(sorted(SIZES)), st.integers(0, 5), st.integers(0, 255), WILD), max_size=8)
)
def test_whatever_an_engine_returns_a_finding_is_made_of_finite_numbers(places):
    outputs = outputs_of(6)
    for name, row, column, value in places:
        outputs[name][row, column % SIZES[name]] = value

    for finding in Readout(MANIFEST).read(outputs, n_crops=2):
        if isinstance(finding, Finding):
            numbers = [risk.probability for risk in finding.risks] + list(finding.subtype.values())
            assert all(0 <= number <= 1 for number in numbers)
            assert all(math.isfinite(phenotype.value) for phenotype in finding.phenotypes)
            assert abs(np.linalg.norm(finding.embedding) - 1) < 1e-4
            assert np.isfinite(finding.logits).all()
        else:
            assert isinstance(finding, EngineFailed)

"""A report is FHIR R4 by the judgement of a FHIR library, whatever the report; and it says what the report says."""

import io
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from waiting import PATIENCE_S

from inference.ecg_measurements import NOT_MEASURABLE, UNITS
from inference.fhir import (
    LOINC,
    LOINC_MEASUREMENTS,
    SNOMED,
    SNOMED_DISEASES,
    UCUM,
    UCUM_UNITS,
    compose_bundle,
    encode_bundle,
)
from inference.phenotypes import MEASUREMENTS
from inference.screen_files import Rejected, Screened
from schemas.errors import InvalidSettings, MalformedRecord
from schemas.messages import (
    DISEASES,
    SUBTYPES,
    EcgMeasurement,
    ModelReference,
    Phenotype,
    Quality,
    QualityWarning,
    Risk,
    RiskReport,
    encode_message,
)
from stream.commands.fhir import fhir_command

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def report(seed=0, **changes):
    draw = np.random.default_rng(seed)
    whole = RiskReport(
        report_id=f"report-{seed}",
        record_id=f"ecg-{seed}",
        patient_id="p-1",
        model=ModelReference(name="cardiacnets-reference", version="0.3.0+abc", trained=True, weights="demonstration"),
        risks=tuple(
            Risk(disease=disease, probability=float(p), threshold=0.5, flagged=bool(p >= 0.5))
            for disease, p in zip(DISEASES, draw.random(5).round(6), strict=True)
        ),
        phenotypes=tuple(
            Phenotype(name=known.name, value=float(draw.normal(50, 20)), unit=known.unit) for known in MEASUREMENTS
        ),
        cardiomyopathy_subtype=dict(zip(SUBTYPES, (0.2, 0.3, 0.5), strict=True)),
        quality=Quality(
            warnings=(QualityWarning(code="noisy", detail="Lead V1 is noisy."),),
            sample_rate_hz=500.0,
            duration_s=10.0,
            derived_leads=(),
        ),
        created_at=NOW,
        recorded_at=NOW,
    )
    return msgspec.structs.replace(whole, **changes)


def judged(one):
    """Return the Bundle as the FHIR library reads it; it raises where the Bundle is none."""
    return Bundle.model_validate_json(encode_bundle(one))


def test_an_estimate_has_its_interval_and_says_where_an_ecg_tells_nothing():
    whole = report()
    sure, unsure, plain, *others = whole.phenotypes
    sure = msgspec.structs.replace(sure, value=55.5, half_width=7.25)
    unsure = msgspec.structs.replace(unsure, half_width=3.0, informative=False)
    told = msgspec.structs.replace(whole, phenotypes=(sure, unsure, plain, *others))
    judged(told)
    first, second, third = (entry["resource"] for entry in compose_bundle(told)["entry"][7:10])
    assert [part["valueQuantity"]["value"] for part in first["component"]] == [48.25, 62.75]
    assert "note" not in first
    assert "says about nothing" in second["note"][0]["text"]
    assert not {"component", "note"} & third.keys()


def test_a_risk_that_is_not_assessable_has_no_number_and_says_why():
    whole = report()
    paced = tuple(
        msgspec.structs.replace(one, flagged=False, verdict="not_assessable", reasons=("paced",)) for one in whole.risks
    )
    bundle = compose_bundle(msgspec.structs.replace(whole, risks=paced))
    judged(msgspec.structs.replace(whole, risks=paced))
    observations = [entry["resource"] for entry in bundle["entry"][2:7]]
    for observation in observations:
        assert not {"valueQuantity", "interpretation", "referenceRange"} & observation.keys()
        absent = observation["dataAbsentReason"]
        assert [one["code"] for one in absent["coding"]] == ["not-applicable", "paced"]
        assert absent["text"] == "Not assessable: the rhythm is paced."
    codes = [entry["resource"]["code"]["coding"][0]["code"] for entry in bundle["entry"][2:]]
    assert not [code for code in codes if code.startswith("phenotype-")]
    said = bundle["entry"][0]["resource"]["conclusion"]
    listed = "coronary artery disease, cardiomyopathy, heart failure, pulmonary hypertension, pericarditis"
    assert f"No risk is flagged. Not assessable for {listed}: the rhythm is paced." in said


def resources(one, kind):
    entries = [entry["resource"] for entry in json.loads(encode_bundle(one))["entry"]]
    return [resource for resource in entries if resource["resourceType"] == kind]


def observation(one, code):
    (found,) = [
        resource
        for resource in resources(one, "Observation")
        if any(coding["code"] == code for coding in resource["code"].get("coding", ()))
    ]
    return found


def test_many_reports_are_fhir_and_hold_every_number():
    for seed in range(8):
        one = report(seed)
        bundle = judged(one)
        kinds = [entry.resource.get_resource_type() for entry in bundle.entry]
        assert kinds == ["DiagnosticReport", "Device"] + ["Observation"] * (5 + 82 + 1)
        values = {
            resource["code"]["coding"][0]["code"]: resource.get("valueQuantity", {}).get("value")
            for resource in resources(one, "Observation")
        }
        assert all(values[f"risk-{risk.disease}"] == risk.probability for risk in one.risks)
        assert all(values[f"phenotype-{phenotype.name}"] == phenotype.value for phenotype in one.phenotypes)


def test_the_judge_finds_what_is_wrong():
    bundle = json.loads(encode_bundle(report()))
    bundle["entry"][0]["resource"]["status"] = ["preliminary"]
    with pytest.raises(ValidationError):
        Bundle.model_validate(bundle)


texts = st.text(max_size=8)
ids = st.text(min_size=1, max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
instants = st.datetimes(timezones=st.just(UTC))


@settings(max_examples=40, deadline=None)
@given(
    st.builds(
        RiskReport,
        report_id=ids,
        record_id=ids,
        patient_id=st.none() | ids,
        model=st.builds(ModelReference, name=ids, version=ids, trained=st.booleans(), weights=texts),
        risks=st.lists(
            st.builds(Risk, disease=st.sampled_from(DISEASES), probability=st.floats(0, 1), threshold=st.floats(0, 1)),
            max_size=5,
        ).map(tuple),
        phenotypes=st.lists(st.builds(Phenotype, name=texts, value=numbers, unit=texts), max_size=5).map(tuple),
        ecg_measurements=st.lists(
            st.builds(
                EcgMeasurement,
                name=st.sampled_from([*UNITS, "another"]),
                value=st.none() | numbers,
                unit=texts,
                not_measurable=st.none() | st.sampled_from([*NOT_MEASURABLE, "another_reason"]),
            ),
            max_size=5,
        ).map(tuple),
        cardiomyopathy_subtype=st.none() | st.dictionaries(st.sampled_from(SUBTYPES), st.floats(0, 1)),
        quality=st.just(report().quality),
        created_at=instants,
        recorded_at=st.none() | instants,
        notice=texts,
    )
)
def test_any_report_that_keeps_the_contract_is_fhir(one):
    bundle = judged(one)
    urls = [entry.fullUrl for entry in bundle.entry]
    assert len(set(urls)) == len(urls)
    assert not any_empty(json.loads(encode_bundle(one)))


def any_empty(node):
    """Return whether there is an empty list, object or text anywhere, which FHIR forbids and the judge lets pass."""
    if isinstance(node, dict | list):
        return not node or any(map(any_empty, node.values() if isinstance(node, dict) else node))
    return node is None or (isinstance(node, str) and not node.strip())


def test_every_reference_leads_to_a_resource_of_the_bundle():
    text = encode_bundle(report()).decode()
    urls = {entry["fullUrl"] for entry in json.loads(text)["entry"]}
    assert urls == set(re.findall(r'"reference":"([^"]+)"', text)) | {json.loads(text)["entry"][0]["fullUrl"]}
    assert len(resources(report(), "DiagnosticReport")[0]["result"]) == 88


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("2026-01-02T03:04:05+23:59", "2026-01-01T03:05:05+00:00"),
        ("2026-01-02T03:04:05-23:59", "2026-01-03T03:03:05+00:00"),
        ("2026-01-02T03:04:05.25Z", "2026-01-02T03:04:05.250000+00:00"),
        ("0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00+00:00"),
        ("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_times_are_in_utc_for_fhir_knows_no_offset_beyond_14_hours(said, written):
    at = msgspec.convert(said, datetime)
    bundle = compose_bundle(msgspec.structs.replace(report(), created_at=at, recorded_at=at))
    (diagnostic,) = [each["resource"] for each in bundle["entry"] if "issued" in each["resource"]][:1]
    assert bundle["timestamp"] == diagnostic["issued"] == diagnostic["effectiveDateTime"] == written


def test_no_text_of_a_bundle_has_a_control_or_turns_the_direction_of_what_stands_around_it():
    odd = "a\0b\x1b[31m\u202ec\u200b"
    model = ModelReference(name=odd, version=odd, trained=True, weights=odd)
    quality = msgspec.structs.replace(
        report().quality, warnings=(QualityWarning(code="a_remark", detail=odd, numbers={}),)
    )
    hostile = msgspec.structs.replace(
        report(), report_id=odd, record_id=odd, patient_id=odd, model=model, quality=quality, notice=odd
    )
    hostile = msgspec.structs.replace(hostile, phenotypes=(Phenotype(name=odd, value=1.0, unit=odd),))
    text = json.dumps(compose_bundle(hostile), ensure_ascii=False)
    assert "a⟨U+0000⟩b⟨U+001B⟩[31m⟨U+202E⟩c⟨U+200B⟩" in text
    assert not re.search(r"\\u0000|\\u001b|\u202e|\u200b", text)


def test_the_same_report_gives_the_same_bytes_and_another_one_other_ids():
    assert encode_bundle(report()) == encode_bundle(report())
    ids_of = [{entry["fullUrl"] for entry in compose_bundle(report(seed))["entry"]} for seed in (0, 1)]
    assert not ids_of[0] & ids_of[1]


def test_a_risk_carries_its_threshold_its_flag_and_the_disease_but_does_not_claim_the_disease():
    risk = Risk(disease="heart_failure", probability=0.75, threshold=0.5, flagged=True)
    found = observation(report(risks=(risk,)), "risk-heart_failure")
    assert found["valueQuantity"] == {"value": 0.75, "unit": "probability", "system": UCUM, "code": "1"}
    assert found["referenceRange"][0]["high"]["value"] == 0.5
    assert found["interpretation"][0]["coding"][0]["code"] == "H"
    assert found["component"][0]["valueCodeableConcept"]["coding"][0]["code"] == SNOMED_DISEASES["heart_failure"][0]
    assert SNOMED not in json.dumps(found["code"])
    calm = msgspec.structs.replace(risk, flagged=False, probability=0.25)
    (other,) = [r for r in resources(report(risks=(calm,)), "Observation") if "interpretation" in r]
    assert other["interpretation"][0]["coding"][0]["code"] == "N"
    assert "does not rule the disease out" in other["interpretation"][0]["text"]


def test_phenotypes_have_ucum_units_all_of_them_and_the_ejection_fraction_its_loinc_code():
    assert {known.unit for known in MEASUREMENTS} | set(UNITS.values()) == set(UCUM_UNITS)
    assert all(
        observation(report(), f"phenotype-{known.name}")["valueQuantity"]["code"] == UCUM_UNITS[known.unit]
        for known in MEASUREMENTS
    )
    lvef = observation(report(), "phenotype-LVEF")
    assert {"system": LOINC, "code": "10230-1", "display": "Left ventricular Ejection fraction"} in lvef["code"][
        "coding"
    ]
    assert "not measured" in lvef["method"]["text"]


def test_nothing_is_final_and_the_conclusion_names_the_model_its_weights_and_the_notice():
    one = report()
    (head,) = resources(one, "DiagnosticReport")
    (device,) = resources(one, "Device")
    assert {r["status"] for r in [head, *resources(one, "Observation")]} == {"preliminary"}
    for words in (one.notice, "cardiacnets-reference 0.3.0+abc", "weights: demonstration", "Lead V1 is noisy."):
        assert words in head["conclusion"]
    assert "mean nothing" not in head["conclusion"]
    assert "demonstration" in device["note"][0]["text"]
    untrained = msgspec.structs.replace(one.model, trained=False)
    assert "mean nothing" in resources(report(model=untrained), "DiagnosticReport")[0]["conclusion"]


def test_patient_and_time_are_the_ecgs_or_said_to_be_unknown():
    (head,) = resources(report(), "DiagnosticReport")
    assert head["subject"]["identifier"]["value"] == "p-1"
    assert head["effectiveDateTime"] == NOW.isoformat()
    for resource in resources(report(patient_id=None, recorded_at=None), "Observation"):
        assert "subject" not in resource
        assert resource["_effectiveDateTime"]["extension"][0]["valueCode"] == "unknown"


def test_the_subtype_is_an_observation_where_there_is_one():
    shares = observation(report(), "cardiomyopathy-subtype")["component"]
    assert [share["valueQuantity"]["value"] for share in shares] == [0.2, 0.3, 0.5]
    assert len(resources(report(cardiomyopathy_subtype=None), "Observation")) == 87


MEASURED = (
    EcgMeasurement(name="qtc_fridericia", value=412.0, unit="ms", not_measurable=None),
    EcgMeasurement(name="qrs_axis", value=-30.0, unit="°", not_measurable=None),
    EcgMeasurement(name="pr_interval", value=None, unit="ms", not_measurable="no_p_wave"),
)


def test_rate_intervals_and_axes_are_observations_by_their_loinc_codes():
    one = report(ecg_measurements=MEASURED)
    judged(one)
    qtc, axis, pr = (observation(one, f"ecg-{measured.name}") for measured in MEASURED)
    assert [coding["code"] for coding in qtc["code"]["coding"] if coding["system"] == LOINC] == ["76634-5", "8636-3"]
    assert qtc["valueQuantity"] == {"value": 412.0, "unit": "ms", "system": UCUM, "code": "ms"}
    assert axis["valueQuantity"]["code"] == "deg"
    assert "no neural network" in qtc["method"]["text"]
    assert "valueQuantity" not in pr
    assert pr["dataAbsentReason"]["text"] == "Not measurable: no P wave is before each QRS complex."
    assert pr["dataAbsentReason"]["coding"][1]["code"] == "no_p_wave"


def test_every_measurement_has_a_loinc_code_and_a_ucum_unit():
    assert LOINC_MEASUREMENTS.keys() == UNITS.keys()
    assert set(UNITS.values()) <= UCUM_UNITS.keys()


# --- the command


def screened(one):
    return msgspec.json.encode(Screened(source="a.hea", record_id=one.record_id, report=one))


REJECTED = msgspec.json.encode(
    Rejected(source="b.hea", record_id=None, code="too_short", detail="It is too short.", numbers={})
)


def written(tmp_path, content, monkeypatch=None):
    """Return the Bundles that the command makes of the content, as lines."""
    out, reports = tmp_path / "out.ndjson", "-"
    if monkeypatch:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    else:
        reports = str(tmp_path / "in.json")
        (tmp_path / "in.json").write_bytes(content)
    fhir_command(reports, out=out)
    return out.read_bytes().splitlines()


def test_reports_and_answers_of_screen_become_a_bundle_a_line_in_order(tmp_path):
    content = b"\n".join([encode_message(report(0)), b"", screened(report(1)), encode_message(report(2)), b""])
    assert written(tmp_path, content) == [encode_bundle(report(seed)) for seed in range(3)]


def test_a_report_over_several_lines_is_one_report(tmp_path):
    content = msgspec.json.format(encode_message(report()), indent=2)
    assert written(tmp_path, content) == [encode_bundle(report())]


def test_a_dash_is_standard_input(tmp_path, monkeypatch):
    assert written(tmp_path, encode_message(report()), monkeypatch) == [encode_bundle(report())]


def test_a_rejected_ecg_is_named_and_the_others_are_written(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        written(tmp_path, screened(report(0)) + b"\n" + REJECTED + b"\n" + screened(report(1)))
    assert end.value.code == 1
    assert "line 2: b.hea was rejected and has no report: It is too short." in capsys.readouterr().err
    assert len((tmp_path / "out.ndjson").read_bytes().splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no report"),
        (b"\n\n", "no report"),
        (b"nonsense", "line 1"),
        (b"{", "line 1"),
        (b"[1, 2]", "line 1"),
        (b'{"report": 3}', "line 1"),
        (b"\xff\xfe", "line 1"),
        (b'{"record_id": "x"}', "report_id"),
        (encode_message(report()) + b"\n{}\n", "line 2"),
    ],
)
def test_what_is_no_report_is_said_with_its_line_and_leaves_no_file(tmp_path, content, words):
    with pytest.raises(MalformedRecord, match=words):
        written(tmp_path, content)
    assert {path.name for path in tmp_path.iterdir()} == {"in.json"}


def test_a_path_that_cannot_be_read_or_written_is_a_misuse(tmp_path):
    with pytest.raises(InvalidSettings, match="none.json cannot be read: No such file"):
        fhir_command(str(tmp_path / "none.json"), out=None)
    (tmp_path / "in.json").write_bytes(encode_message(report()))
    with pytest.raises(InvalidSettings, match="cannot be written"):
        fhir_command(str(tmp_path / "in.json"), out=tmp_path / "none" / "out.json")


def test_without_a_file_it_writes_to_standard_output():
    program = "from stream.commands.fhir import fhir_command; fhir_command('-', out=None)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=encode_message(report()),
        capture_output=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert done.stdout == encode_bundle(report()) + b"\n"

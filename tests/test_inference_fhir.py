"""A report is FHIR R4 by the judgement of a FHIR library, whatever the report; and it says what the report says."""

import json
import re
from datetime import UTC, datetime

import msgspec
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.codesystem import CodeSystem
from fhir.resources.R4B.valueset import ValueSet
from fhir_reports import EVERY_MEASUREMENT, MODEL, NOW, alert, report
from fhir_validator import findings, is_expected
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from inference.ecg_measurements import NOT_MEASURABLE, UNITS
from inference.fhir import compose_bundle, compose_resources, encode_bundle
from inference.fhir_code_system import code_resources
from inference.fhir_codes import (
    CODES,
    LOINC,
    LOINC_MEASUREMENTS,
    OWN_CODES,
    SNOMED,
    SNOMED_DISEASES,
    UCUM,
    UCUM_UNITS,
)
from inference.fhir_flag import compose_flag_bundle
from inference.fhir_parts import BY_AI, BY_DEVICE, RESOURCES, with_hl7_label
from inference.fhir_transaction import transaction
from inference.phenotypes import MEASUREMENTS
from inference.reference_values import REFERENCE_VALUES
from inference.site_policy import IN_WORDS
from schemas.messages import (
    DISEASES,
    SUBTYPES,
    AcknowledgedBy,
    EcgMeasurement,
    ModelReference,
    Phenotype,
    QualityWarning,
    Risk,
    RiskReport,
)

MEASURED = (
    EcgMeasurement(name="qtc_fridericia", value=412.0, unit="ms", not_measurable=None),
    EcgMeasurement(name="qrs_axis", value=-30.0, unit="°", not_measurable=None),
    EcgMeasurement(name="pr_interval", value=None, unit="ms", not_measurable="no_p_wave"),
)


def judged(one):
    """Return the Bundle as the FHIR library reads it; it raises where the Bundle is none."""
    return Bundle.model_validate_json(encode_bundle(one))


def resources(one, kind):
    entries = [entry["resource"] for entry in json.loads(encode_bundle(one))["entry"]]
    return [resource for resource in entries if resource["resourceType"] == kind]


def observation(one, code):
    (found,) = [each for each in resources(one, "Observation") if code in codes_of(each["code"])]
    return found


def codes_of(concept):
    return [coding["code"] for coding in concept.get("coding", ())]


def components(one, code="phenotypes"):
    """Return the components of an Observation by their first code."""
    return {codes_of(part["code"])[0]: part for part in observation(one, code)["component"]}


def predictions(one):
    (assessment,) = resources(one, "RiskAssessment")
    return {codes_of(each["outcome"])[0]: each for each in assessment["prediction"]}


def told(**changes):
    """Return a report whose first phenotype, and whose LVEF, are changed."""
    whole = report()
    changed = [
        msgspec.structs.replace(each, **changes) if each.name in {"LVEDV", "LVEF"} else each
        for each in whole.phenotypes
    ]
    return msgspec.structs.replace(whole, phenotypes=tuple(changed))


def test_an_estimate_has_its_interval_beside_it_and_not_as_a_range_of_healthy_people():
    one = told(value=55.5, half_width=7.25)
    judged(one)
    for parts in (components(one, "phenotype-LVEF"), components(one)):
        (interval,) = [part for code, part in parts.items() if code.startswith("interval-90-")]
        ends = interval["valueRange"]
        assert (ends["low"]["value"], ends["high"]["value"]) == (48.25, 62.75)
    assert components(one)["interval-90-LVEDV"]["valueRange"]["low"]["code"] == "mL"
    assert "interval-90-LVESV" not in components(one)


def test_what_an_ecg_does_not_tell_has_no_value_and_says_so():
    one = told(half_width=3.0, informative=False)
    judged(one)
    for part in (observation(one, "phenotype-LVEF"), components(one)["phenotype-LVEDV"]):
        assert not {"valueQuantity", "referenceRange", "component"} & part.keys()
        assert codes_of(part["dataAbsentReason"]) == ["unsupported"]
        assert "says about nothing" in part["dataAbsentReason"]["text"]
    assert "interval-90-LVEDV" not in components(one)


def test_ranges_of_healthy_women_and_men_say_their_source_and_no_other_measurement_has_one():
    one = report(ecg_measurements=EVERY_MEASUREMENT)
    women, men = observation(one, "phenotype-LVEF")["referenceRange"]
    assert (women["low"]["value"], women["high"]["value"]) == (51.2, 70.8)
    assert [codes_of(each["appliesTo"][0]) for each in (women, men)] == [["248152002"], ["248153007"]]
    assert all("Petersen, JCMR 2017" in each["text"] for each in (women, men))
    known = {each.measurement for each in REFERENCE_VALUES}
    with_ranges = {code for code, part in components(one).items() if "referenceRange" in part}
    assert with_ranges == {f"phenotype-{each.name}" for each in MEASUREMENTS if each.name in known - {"LVEF"}}
    assert not [
        each for each in resources(one, "Observation") if "referenceRange" in each and "ecg-" in str(each["code"])
    ]


def test_a_measurement_in_another_unit_is_not_held_against_a_range():
    assert "referenceRange" not in components(told(unit="L"))["phenotype-LVEDV"]


def test_a_risk_that_is_not_assessable_has_no_number_and_says_why():
    whole = report()
    paced = tuple(
        msgspec.structs.replace(one, flagged=False, verdict="not_assessable", reasons=("paced",)) for one in whole.risks
    )
    one = msgspec.structs.replace(whole, risks=paced)
    judged(one)
    assert predictions(one).keys() == set(DISEASES)
    for prediction in predictions(one).values():
        assert "probabilityDecimal" not in prediction
        assert codes_of(prediction["qualitativeRisk"]) == ["not_assessable", "paced"]
        assert prediction["rationale"] == "Not assessable: the rhythm is paced."
    assert "phenotype" not in json.dumps([each["code"] for each in resources(one, "Observation")])
    said = resources(one, "DiagnosticReport")[0]["conclusion"]
    listed = "coronary artery disease, cardiomyopathy, heart failure, pulmonary hypertension, pericarditis"
    assert f"No risk is flagged. Not assessable for {listed}: the rhythm is paced." in said


def test_many_reports_are_fhir_and_hold_every_number():
    for seed in range(8):
        one = report(seed, ecg_measurements=EVERY_MEASUREMENT)
        kinds = [entry.resource.get_resource_type() for entry in judged(one).entry]
        observations = ["Observation"] * (8 + 1 + 1 + 1)
        assert kinds == ["DiagnosticReport", "Device", *observations, "RiskAssessment", "Provenance"]
        told = {**components(one), "phenotype-LVEF": observation(one, "phenotype-LVEF")}
        values = {code: part["valueQuantity"]["value"] for code, part in told.items()}
        assert values == {f"phenotype-{phenotype.name}": phenotype.value for phenotype in one.phenotypes}
        percents = {disease: each["probabilityDecimal"] for disease, each in predictions(one).items()}
        assert percents == pytest.approx({risk.disease: 100 * risk.probability for risk in one.risks})


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
        site=st.none() | ids,
        model=st.builds(ModelReference, name=ids, version=ids, trained=st.booleans(), weights=texts),
        risks=st.lists(
            st.builds(Risk, disease=st.sampled_from(DISEASES), probability=st.floats(0, 1), threshold=st.floats(0, 1)),
            max_size=5,
        ).map(tuple),
        phenotypes=st.lists(
            st.builds(
                Phenotype,
                name=texts | st.sampled_from(["LVEF", "LVEDV"]),
                value=numbers,
                unit=texts | st.just("mL"),
                half_width=st.none() | st.floats(0, 1e9),
                informative=st.booleans(),
            ),
            max_size=5,
        ).map(tuple),
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


def test_every_reference_leads_to_a_resource_that_stands_before_it():
    known = set()
    for resource in compose_resources(report(ecg_measurements=EVERY_MEASUREMENT)):
        assert set(re.findall(r'"reference": "([^"]+)"', json.dumps(resource))) <= known
        known.add(f"urn:uuid:{resource['id']}")
    assert len(resources(report(), "DiagnosticReport")[0]["result"]) == 3


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
        report(), report_id=odd, record_id=odd, patient_id=odd, site=odd, model=model, quality=quality, notice=odd
    )
    hostile = msgspec.structs.replace(hostile, phenotypes=(Phenotype(name=odd, value=1.0, unit=odd, half_width=1.0),))
    flag = alert(identifier=odd, derived_from=odd, subject=odd, model=model, notice=odd)
    for bundle in (compose_bundle(hostile), compose_flag_bundle(flag)):
        text = json.dumps(bundle, ensure_ascii=False)
        assert "a⟨U+0000⟩b⟨U+001B⟩[31m⟨U+202E⟩c⟨U+200B⟩" in text
        assert not re.search(r"\\u0000|\\u001b|\u202e|\u200b", text)


def test_the_same_report_gives_the_same_bytes_and_another_one_other_ids_but_that_of_the_model():
    assert encode_bundle(report()) == encode_bundle(report())
    ids_of = [{entry["fullUrl"] for entry in compose_bundle(report(seed))["entry"]} for seed in (0, 1)]
    (device,) = resources(report(), "Device")
    assert ids_of[0] & ids_of[1] == {f"urn:uuid:{device['id']}"}


def test_a_risk_is_a_percentage_at_the_time_of_the_ecg_with_its_verdict_and_claims_no_disease():
    risk = Risk(disease="heart_failure", probability=0.0075, threshold=0.005, flagged=True)
    found = predictions(report(risks=(risk,)))["heart_failure"]
    assert found["probabilityDecimal"] == 0.75, "R4: decimal values are percentages"
    assert SNOMED_DISEASES["heart_failure"][0] in codes_of(found["outcome"])
    assert codes_of(found["qualitativeRisk"]) == ["detected"]
    assert "at or above the model's threshold of 0.5 %" in found["rationale"]
    assert found["whenPeriod"] == {"start": NOW.isoformat(), "end": NOW.isoformat()}
    calm = predictions(report(risks=(msgspec.structs.replace(risk, flagged=False, probability=0.0025),)))
    assert codes_of(calm["heart_failure"]["qualitativeRisk"]) == ["not_detected"]
    assert "does not rule the disease out" in calm["heart_failure"]["qualitativeRisk"]["text"]


def test_nothing_is_called_normal_and_no_observation_is_coded_as_a_disease():
    one = report(ecg_measurements=EVERY_MEASUREMENT)
    text = encode_bundle(one).decode()
    assert "v3-ObservationInterpretation" not in text
    assert '"Normal"' not in text
    assert SNOMED not in json.dumps([each["code"] for each in resources(one, "Observation")])


def test_phenotypes_have_ucum_units_all_of_them_and_the_ejection_fraction_its_loinc_code():
    assert {known.unit for known in MEASUREMENTS} | set(UNITS.values()) == set(UCUM_UNITS)
    panel = components(report())
    assert all(
        panel[f"phenotype-{known.name}"]["valueQuantity"]["code"] == UCUM_UNITS[known.unit]
        for known in MEASUREMENTS
        if known.name != "LVEF"
    )
    lvef = observation(report(), "phenotype-LVEF")
    assert {"system": LOINC, "code": "10230-1", "display": "Left ventricular Ejection fraction"} in lvef["code"][
        "coding"
    ]
    assert lvef["valueQuantity"]["code"] == UCUM_UNITS["%"]
    assert "not measured" in lvef["method"]["text"]


def test_nothing_is_final_and_each_number_has_the_model_its_weights_and_the_notice():
    one = report(ecg_measurements=EVERY_MEASUREMENT)
    (head,), (device,), (risks,) = (resources(one, kind) for kind in ("DiagnosticReport", "Device", "RiskAssessment"))
    observations = resources(one, "Observation")
    assert {each["status"] for each in [head, risks, *observations]} == {"preliminary"}
    for words in (one.notice, "cardiacnets-reference 0.3.0+abc", "Weights: demonstration", "Lead V1 is noisy."):
        assert words in head["conclusion"]
    for each in [risks, device, *observations]:
        (note,) = each["note"]
        assert one.notice in note["text"]
        of_the_network = "Weights: demonstration." in note["text"]
        assert of_the_network == ("no neural network" not in str(each.get("method")))
    assert "mean nothing" not in head["conclusion"]
    untrained = report(model=msgspec.structs.replace(one.model, trained=False))
    for each in [observation(untrained, "phenotype-LVEF"), *resources(untrained, "RiskAssessment")]:
        assert "mean nothing" in each["note"][0]["text"]


def test_all_that_a_machine_said_is_labelled_and_its_provenance_names_model_and_ecg():
    one = report(ecg_measurements=EVERY_MEASUREMENT)
    (provenance,), (device,) = resources(one, "Provenance"), resources(one, "Device")
    said = [each for each in compose_resources(one) if each["resourceType"] not in {"Device", "Provenance"}]
    for each in [*said, provenance]:
        assert each["meta"]["security"] == [BY_DEVICE]
        assert {"system": CODES, "code": "AIAST", "display": "Artificial intelligence asserted"} in each["meta"]["tag"]
        assert with_hl7_label(each) == each | {"meta": each["meta"] | {"security": [BY_AI]}}
    assert with_hl7_label(device) == device, "nobody asserts a device"
    assert [each["reference"] for each in provenance["target"]] == [f"urn:uuid:{each['id']}" for each in said]
    assert provenance["agent"][0]["who"] == {"reference": f"urn:uuid:{device['id']}"}
    assert provenance["entity"][0]["what"]["identifier"]["value"] == one.record_id


def test_every_resource_has_an_identifier_of_its_own():
    named = [
        next(each["value"] for each in resource["identifier"] if each["system"] == RESOURCES)
        for resource in compose_resources(report(ecg_measurements=EVERY_MEASUREMENT))
        if resource["resourceType"] != "Provenance"
    ]
    (provenance,) = resources(report(), "Provenance")
    assert provenance["meta"]["tag"][0] == {"system": RESOURCES, "code": provenance["id"]}
    assert len(set(named)) == len(named) == 14


def test_patient_and_time_are_the_ecgs_or_said_to_be_unknown():
    (head,) = resources(report(), "DiagnosticReport")
    assert head["subject"]["identifier"]["value"] == "p-1"
    assert head["effectiveDateTime"] == NOW.isoformat()
    nobody = report(patient_id=None, recorded_at=None)
    for resource in [*resources(nobody, "Observation"), *resources(nobody, "RiskAssessment")]:
        assert resource["subject"]["extension"][0]["valueCode"] == "unknown"
        assert "identifier" not in resource["subject"]
    for resource in resources(nobody, "Observation"):
        assert resource["_effectiveDateTime"]["extension"][0]["valueCode"] == "unknown"


def test_the_site_performs_where_the_ecg_names_one_since_r4_lets_no_device_do_that():
    for one, words in ((report(site="Ward 4"), "Ward 4"), (report(), "the ECG names no site")):
        for resource in [*resources(one, "DiagnosticReport"), *resources(one, "Observation")]:
            (who,) = resource["performer"]
            assert who["type"] == "Organization"
            assert words in who["display"]


def test_the_subtype_is_an_observation_where_there_is_one():
    shares = observation(report(), "cardiomyopathy-subtype")["component"]
    assert [share["valueQuantity"]["value"] for share in shares] == [0.2, 0.3, 0.5]
    assert len(resources(report(cardiomyopathy_subtype=None), "Observation")) == 2


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
    (why,) = pr["component"]
    assert codes_of(why["code"]) == ["no-value"]
    assert codes_of(why["valueCodeableConcept"]) == ["no_p_wave"]


def test_every_measurement_has_a_loinc_code_and_a_ucum_unit():
    assert LOINC_MEASUREMENTS.keys() == UNITS.keys()
    assert set(UNITS.values()) <= UCUM_UNITS.keys()


def test_an_alert_is_a_flag_whose_author_is_the_model_and_a_later_state_is_the_same_flag():
    seen = {}
    for status in ("raised", "escalated", "expired", "acknowledged"):
        bundle = compose_flag_bundle(alert(status=status))
        Bundle.model_validate_json(json.dumps(bundle))
        device, flag = (entry["resource"] for entry in bundle["entry"])
        seen[status] = (flag["status"], flag["identifier"])
        assert flag["author"] == {"reference": f"urn:uuid:{device['id']}"}
        assert "probability 75 % (threshold 50 %)" in flag["code"]["text"]
        assert "Weights: demonstration. Not a medical device." in flag["code"]["text"]
        assert flag["meta"]["security"] == [BY_DEVICE]
    assert [status for status, _ in seen.values()] == ["active", "active", "inactive", "inactive"]
    assert len({json.dumps(named) for _, named in seen.values()}) == 1
    priority, detail = flag["extension"]
    assert priority["valueCodeableConcept"]["coding"][0]["code"] == "PH"
    assert detail["valueReference"]["identifier"]["value"] == "report-0"


def test_a_flag_says_who_took_note_and_when_and_what_is_doubtful_of_the_ecg():
    took_note = AcknowledgedBy(name="Nurse Kim", authenticated=True, at=NOW)
    one = alert(status="acknowledged", acknowledgement=took_note, ecg_quality=report().quality)
    flag = compose_flag_bundle(one)["entry"][1]["resource"]
    assert flag["period"] == {"start": NOW.isoformat(), "end": NOW.isoformat()}
    assert "acknowledged by Nurse Kim. Signal: Lead V1 is noisy." in flag["code"]["text"]


def own_codes_in(node):
    """Return each code of our system that stands anywhere in the node."""
    if isinstance(node, list):
        return set().union(*map(own_codes_in, node))
    if not isinstance(node, dict):
        return set()
    here = {node["code"]} if node.get("system") == CODES and "code" in node else set()
    return here.union(*map(own_codes_in, node.values()))


def test_every_code_of_ours_is_published_and_every_published_one_is_used():
    assert len(DISEASES) == 5
    reasons = tuple(IN_WORDS)
    risks = tuple(
        Risk(disease=disease, probability=0.5, threshold=0.5, flagged=flagged, verdict=verdict, reasons=why)
        for disease, flagged, verdict, why in zip(
            DISEASES,
            (True, False, False, False, False),
            ("detected", "not_detected", "not_assessable", "not_assessable", "not_assessable"),
            ((), (), reasons, (), ()),
            strict=True,
        )
    )
    whole = report(risks=risks, ecg_measurements=EVERY_MEASUREMENT)
    sure = tuple(msgspec.structs.replace(each, half_width=1.0) for each in whole.phenotypes)
    unsure = (msgspec.structs.replace(sure[0], informative=False),)
    used = own_codes_in(compose_bundle(msgspec.structs.replace(whole, phenotypes=sure)))
    used |= own_codes_in(compose_bundle(msgspec.structs.replace(whole, phenotypes=unsure)))
    for why in (*NOT_MEASURABLE, None, "of_a_later_version"):
        measured = (msgspec.structs.replace(MEASURED[2], not_measurable=why),)
        used |= own_codes_in(compose_bundle(report(ecg_measurements=measured)))
    for disease in DISEASES:
        used |= own_codes_in(compose_flag_bundle(alert(code=disease)))
    assert used == OWN_CODES.keys()


def test_the_code_system_holds_every_code_once_with_the_codes_that_mean_the_same():
    system, everything, *kinds = code_resources()
    CodeSystem.model_validate_json(json.dumps(system))
    for value_set in (everything, *kinds):
        ValueSet.model_validate_json(json.dumps(value_set))
    codes = [concept["code"] for concept in system["concept"]]
    assert len(set(codes)) == len(codes) == system["count"]
    (lvef,) = [concept for concept in system["concept"] if concept["code"] == "phenotype-LVEF"]
    (loinc,) = [each["valueCoding"]["code"] for each in lvef["property"] if each["code"] == "loinc"]
    assert loinc == "10230-1"
    in_kinds = [each["code"] for kind in kinds for each in kind["compose"]["include"][0]["concept"]]
    assert sorted(in_kinds) == sorted(codes)


def test_a_model_of_another_version_is_another_device():
    other = msgspec.structs.replace(MODEL, version="0.4.0")
    assert resources(report(), "Device")[0]["id"] != resources(report(model=other), "Device")[0]["id"]


@pytest.mark.commands
def test_hapis_validator_finds_no_error_and_knows_who_performs_and_every_code_of_ours(tmp_path):
    unsure = told(half_width=3.0, informative=False)
    paced = tuple(
        msgspec.structs.replace(one, flagged=False, verdict="not_assessable", reasons=("paced",))
        for one in unsure.risks
    )
    whole = msgspec.structs.replace(told(half_width=3.0), ecg_measurements=EVERY_MEASUREMENT)
    bundles = [
        transaction(compose_resources(whole)),
        compose_bundle(msgspec.structs.replace(unsure, site="Ward 4", ecg_measurements=MEASURED)),
        compose_bundle(msgspec.structs.replace(whole, risks=paced)),
        compose_flag_bundle(alert()),
    ]
    wrong = json.loads(json.dumps(bundles[1]).replace("cardiomyopathy-subtype", "cardiomyopathy-sort"))
    del wrong["entry"][2]["resource"]["performer"]
    wrong["entry"][0]["resource"]["status"] = "about-done"
    given = [*bundles, transaction(code_resources()), wrong]
    found = findings(given, tmp_path)
    assert not [each for each in found if each.line < len(given) and not is_expected(each)]
    of_the_wrong_one = [each for each in found if each.line == len(given) and not is_expected(each)]
    for words in ("cardiomyopathy-sort", "performer", "about-done"):
        assert [each for each in of_the_wrong_one if words in each.words], words


def test_each_resource_says_in_words_what_it_holds_and_what_must_be_known_of_it():
    one = told(value=55.5, half_width=7.25)
    one = msgspec.structs.replace(one, ecg_measurements=MEASURED, notice='<b title="&">')
    words = {}
    for resource in [*compose_resources(one), compose_flag_bundle(alert())["entry"][1]["resource"]]:
        begin, end = '<div xmlns="http://www.w3.org/1999/xhtml">', "</div>"
        assert resource["text"]["div"].startswith(begin)
        assert resource["text"]["div"].endswith(end)
        inside = resource["text"]["div"].removeprefix(begin).removesuffix(end)
        assert "<" not in inside
        words.setdefault(resource["resourceType"], []).append(inside)
    everything = " ".join(words["Observation"])
    assert "LVEF: 55.5 %; 90 % prediction interval of LVEF: 48.25 to 62.75 %. Weights: demonstration." in everything
    assert "pr interval: Not measurable: no P wave is before each QRS complex." in everything
    assert "82 numbers, in its components" in everything
    assert "Heart failure: Probability" in words["RiskAssessment"][0]
    assert "Flagged: " in words["DiagnosticReport"][0]
    assert all("&lt;b title=&quot;&amp;&quot;&gt;" in each for each in [*words["Observation"], *words["Device"]])

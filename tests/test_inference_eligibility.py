"""Eligibility: an ECG that the model is not for is not assessable, is never flagged, and the report says why."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle import default_bundle, load_bundle
from inference.eligibility import EXCLUDING_WARNINGS, EligibilityRule
from inference.manifest import Eligibility, contradictions
from inference.readout import Finding
from inference.report import compose_alerts, compose_cmr_request, compose_report
from inference.site_policy import HEAD_NOT_LEARNED, MODEL_ALONE, REASONS, SitePolicy, excluded_by
from schemas.ecg_record import LEADS, EcgRecord
from schemas.messages import DISEASES, Phenotype, Quality, QualityWarning, Risk, reasons_of

MANIFEST = load_bundle(default_bundle()).manifest
CLEAN = Quality(warnings=(), sample_rate_hz=500, duration_s=10, derived_leads=())
ADULT = EcgRecord(
    record_id="r", leads=LEADS, sample_rate_hz=500, microvolts_per_step=1, samples=bytes(24), age_years=61.0
)
FLAGGED = Finding(
    risks=tuple(
        Risk(disease=disease, probability=0.9, threshold=0.5, flagged=True, verdict="detected") for disease in DISEASES
    ),
    phenotypes=(Phenotype(name="LVEF", value=61.0, unit="%", half_width=6.5),),
    subtype={},
    embedding=np.ones(256) / 16,
    logits=np.zeros(5),
)


def judged(record=ADULT, quality=CLEAN, *, site=MODEL_ALONE, manifest=MANIFEST, finding=FLAGGED):
    return EligibilityRule(manifest, site).judge(record, quality, finding)


def aged(years):
    return msgspec.structs.replace(ADULT, age_years=years)


def warned(*codes):
    return msgspec.structs.replace(CLEAN, warnings=tuple(QualityWarning(code=code, detail="") for code in codes))


def eligible_for(**changes):
    return msgspec.structs.replace(MANIFEST, eligibility=Eligibility(**changes))


def reasons(*args, **kwargs):
    return reasons_of(judged(*args, **kwargs)[1].risks)


def test_an_adults_clean_ecg_is_left_as_the_network_read_it():
    assert judged() == (CLEAN, FLAGGED)


@pytest.mark.parametrize(("code", "reason"), EXCLUDING_WARNINGS.items())
def test_an_ecg_with_a_warning_that_excludes_it_is_not_assessable_and_raises_nothing(code, reason):
    quality, finding = judged(quality=warned("derived_leads", code))
    report = compose_report(ADULT, quality, finding, MANIFEST.reference, created_at=None)
    assert {risk.verdict for risk in report.risks} == {"not_assessable"}
    assert reasons_of(report.risks) == (reason,)
    assert [risk.probability for risk in report.risks] == [0.9] * 5
    assert report.phenotypes == (Phenotype(name="LVEF", value=61.0, unit="%", half_width=None, informative=False),)
    assert (compose_alerts(report), compose_cmr_request(report, finding), report.cardiomyopathy_subtype) == (
        [],
        None,
        None,
    )


@pytest.mark.parametrize(
    ("years", "reason"),
    [(0.2, "paediatric"), (5, "paediatric"), (17.99, "paediatric"), (18, None), (100, None)],
)
def test_a_model_for_adults_says_nothing_of_a_child(years, reason):
    assert reasons(aged(years)) == ((reason,) if reason else ())


def test_a_manifest_may_bound_the_age_otherwise_and_may_need_it():
    middle = eligible_for(min_age_years=40, max_age_years=75, age_required=True)
    found = [reasons(aged(years), manifest=middle) for years in (17, 30, 40, 75, 76, None)]
    assert found == [("paediatric",), ("age_out_of_range",), (), (), ("age_out_of_range",), ("age_unknown",)]


def test_an_unknown_age_is_a_warning_where_nobody_requires_one():
    quality, finding = judged(aged(None))
    assert finding == FLAGGED
    assert [warning.code for warning in quality.warnings] == ["age_unknown"]
    assert quality.warnings[0].detail == "no age is given, and the model is for 18 and more years"


def test_a_site_may_be_stricter_than_the_model_and_not_looser_by_ages():
    strict = SitePolicy(min_age_years=40, max_age_years=80, age_required=True)
    assert [reasons(aged(years), site=strict) for years in (39, 40, 81)] == [
        ("age_out_of_range",),
        (),
        ("age_out_of_range",),
    ]
    assert reasons(aged(None), site=strict) == ("age_unknown",)
    assert reasons(aged(12), site=SitePolicy(min_age_years=5)) == ("paediatric",)


def test_what_a_site_screens_all_the_same_stands_in_every_report():
    loose = SitePolicy(screen_anyway=frozenset({"paced", "paediatric"}))
    for record, seen in ((ADULT, CLEAN), (aged(7), warned("paced"))):
        quality, finding = judged(record, seen, site=loose)
        assert finding == FLAGGED
        assert quality.warnings[-1].code == "screened_anyway"
        assert quality.warnings[-1].numbers == {"reasons": "paced, paediatric"}
    assert reasons(quality=warned("paced", "high_peak"), site=loose) == ("low_quality",)


def test_a_model_that_learned_from_paced_ecgs_takes_them():
    assert reasons(quality=warned("pacing_spikes"), manifest=eligible_for(takes=("paced",))) == ()


def test_untrained_weights_raise_no_alert():
    untrained = msgspec.structs.replace(MANIFEST, trained=False)
    assert reasons(manifest=untrained) == ("untrained_weights",)
    assert reasons(manifest=untrained, site=SitePolicy(screen_anyway=frozenset(REASONS))) == ()


def test_what_excludes_an_ecg_at_all_is_what_excludes_it_for_every_disease():
    _, paced = judged(quality=warned("paced"))
    assert excluded_by(paced.risks) == ("paced",)
    heads = (*(msgspec.structs.replace(head, threshold=1.0, calibration=None) for head in MANIFEST.diseases),)
    _, unlearned = judged(manifest=msgspec.structs.replace(MANIFEST, diseases=heads))
    assert excluded_by(unlearned.risks) == excluded_by(FLAGGED.risks) == excluded_by(()) == ()


def test_a_head_that_did_not_learn_is_not_assessable_and_the_others_are():
    heads = (msgspec.structs.replace(MANIFEST.diseases[0], threshold=1.0, calibration=None), *MANIFEST.diseases[1:])
    _, finding = judged(manifest=msgspec.structs.replace(MANIFEST, diseases=heads))
    assert finding.risks[0].reasons == (HEAD_NOT_LEARNED,)
    assert [risk.verdict for risk in finding.risks] == ["not_assessable"] + ["detected"] * 4
    assert finding.phenotypes == FLAGGED.phenotypes


@given(
    codes=st.sets(st.sampled_from([*EXCLUDING_WARNINGS, "derived_leads"])),
    years=st.none() | st.floats(0, 120),
    youngest=st.none() | st.floats(0, 120),
    required=st.booleans(),
)
def test_a_stricter_site_never_makes_an_ecg_assessable(codes, years, youngest, required):
    site = SitePolicy(min_age_years=youngest, age_required=required)
    record, quality = aged(years), warned(*codes)
    assert set(reasons(record, quality)) <= set(reasons(record, quality, site=site))


def test_a_manifest_whose_ages_exclude_everybody_is_refused():
    assert "its max_age_years must be above its min_age_years" in list(contradictions(eligible_for(max_age_years=10)))

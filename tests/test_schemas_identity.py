"""Ids depend on what they name and on nothing else: not on the process, the day or the machine."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.identity import alert_id, cine_seed, rejection_id, report_id, request_id, resource_id
from schemas.messages import ModelReference

texts = st.text(st.characters(codec="utf-8"), max_size=12)


def model(name="m", version="1", *, trained=False):
    return ModelReference(name=name, version=version, trained=trained, weights="untrained")


def test_ids_are_these_for_ever():
    assert report_id("ecg-1", model()) == "f4bf0341-c661-5f50-b9d0-2af47db79c36"
    assert alert_id("r-1", "heart_failure") == "4f62e717-9583-5592-bedc-07de8be5ac61"
    assert resource_id("r-1", "device") == "5f548b64-6efd-5dff-acfd-b638b70c3541"
    assert request_id("r-1") == "5f02ebbc-9dd9-59f5-85f3-8d5340831f08"
    assert rejection_id("ecg-1", "flat_lead") == "9bc2441f-2942-5e7e-ba32-2bbbb27bcd32"
    assert cine_seed("ecg-1", model()) == 3415571318


@given(st.tuples(texts, texts, texts), st.tuples(texts, texts, texts))
def test_two_reports_share_an_id_only_if_record_and_model_are_the_same(one, other):
    def ids(record, name, version):
        return report_id(record, model(name, version)), cine_seed(record, model(name, version))

    assert (ids(*one)[0] == ids(*other)[0]) == (one == other)
    assert ids(*one) == ids(*one)


@given(texts)
def test_the_seed_is_a_uint32(record):
    assert 0 <= cine_seed(record, model()) < 2**32


def test_seeds_spread_over_the_whole_range():
    seeds = [cine_seed(f"ecg-{n}", model()) for n in range(1000)]
    assert len(set(seeds)) == 1000
    assert min(seeds) < 2**32 // 50
    assert max(seeds) > 2**32 // 50 * 49


def test_different_things_with_the_same_parent_have_different_ids():
    ids = {
        alert_id("x", "y"),
        alert_id("x", "z"),
        request_id("x"),
        rejection_id("x", "y"),
        resource_id("x", "y"),
        report_id("x", model()),
    }
    assert len(ids) == 6


def test_the_description_of_the_weights_does_not_change_an_id():
    assert report_id("x", model(trained=True)) == report_id("x", model(trained=False))

"""The screener: one answer an ECG, signed by the model that gave it; no ECG is decoded twice."""

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from fake_engine import ZeroEngine

from inference.bundle import default_bundle, load_bundle
from inference.screener import ReceivedEcg, Refused, Screener, Screening
from schemas.codec import encode_ecg
from schemas.ecg_message import EcgMessage
from schemas.errors import EngineFailed, MalformedRecord, RegistryUnavailable, UnreadableRecord, UnusableSignal
from schemas.writer_schema import BARE
from training.simulation.ecg import generate_ecgs


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(default_bundle())


@pytest.fixture(scope="module")
def ecgs():
    return list(generate_ecgs(3, seed=4))


class Registry:
    """Finds the schema of every record, and counts how often it is asked: once a decoding."""

    def __init__(self, failures=0):
        self.asked, self._failures = 0, failures

    def __call__(self, reference):
        self.asked += 1
        if self.asked <= self._failures:
            raise RegistryUnavailable("no answer")
        return BARE


def received(record):
    return ReceivedEcg(EcgMessage(encode_ecg(record, schema_id=7)))


def flat(record):
    return msgspec.structs.replace(record, samples=bytes(len(record.samples)))


def test_every_answer_is_a_screening_or_a_refusal_with_the_record_that_it_answers(bundle, ecgs):
    screener = Screener(bundle, ZeroEngine(bundle.manifest))
    batch = screener.prepare([ecgs[0], MalformedRecord("no ECG"), flat(ecgs[1]), ecgs[2]])
    first, unread, refused, last = screener.run(batch)
    assert [type(answer) for answer in (first, last)] == [Screening] * 2
    assert (first.record, last.record, refused.record, unread.record) == (ecgs[0], ecgs[2], flat(ecgs[1]), None)
    assert isinstance(unread.error, MalformedRecord)
    assert isinstance(refused.error, UnusableSignal)


def test_an_answer_is_signed_by_the_model_that_gave_it_and_a_batch_runs_on_no_other(bundle, ecgs):
    newer = SimpleNamespace(
        manifest=bundle.manifest, reference=msgspec.structs.replace(bundle.reference, version="0.0.0+of-tomorrow")
    )
    old, new = (Screener(one, ZeroEngine(bundle.manifest)) for one in (bundle, newer))
    batch = old.prepare(ecgs)
    assert {answer.model for answer in old.run(batch)} == {bundle.reference}
    with pytest.raises(ValueError, match="of-tomorrow"):
        new.run(batch)
    assert {answer.model for answer in new.run(new.prepare(ecgs))} == {newer.reference}


def test_a_further_try_does_not_decode_an_ecg_again(bundle, ecgs):
    registry = Registry()
    screener = Screener(bundle, ZeroEngine(bundle.manifest), registry)
    ecg = received(ecgs[0])
    for _ in range(3):
        (answer,) = screener.run(screener.prepare_received([ecg]))
        assert answer.record == ecgs[0]
    assert registry.asked == 1


def test_an_ecg_that_could_not_be_decoded_for_the_moment_is_decoded_by_the_next_try(bundle, ecgs):
    registry = Registry(failures=1)
    screener = Screener(bundle, ZeroEngine(bundle.manifest), registry)
    ecg = received(ecgs[0])
    (first,) = screener.run(screener.prepare_received([ecg]))
    assert (first.record, type(first.error)) == (None, RegistryUnavailable)
    (second,) = screener.run(screener.prepare_received([ecg]))
    assert second.record == ecgs[0]


def test_what_the_consumer_could_not_read_is_refused_and_not_decoded(bundle, ecgs):
    registry = Registry()
    screener = Screener(bundle, ZeroEngine(bundle.manifest), registry)
    unreadable = ReceivedEcg(EcgMessage(b""), refusal=UnreadableRecord("it is damaged"))
    first, second = screener.run(screener.prepare_received([unreadable, received(ecgs[0])]))
    assert (first.record, first.error.wire_code) == (None, "unreadable_record")
    assert second.record == ecgs[0]
    assert registry.asked == 1


def test_an_answer_that_is_not_made_of_numbers_refuses_its_own_ecg_alone(bundle, ecgs):
    class BrokenEngine(ZeroEngine):
        def run(self, inputs):
            outputs = super().run(inputs)
            outputs["disease_logits"][0] = np.nan
            return outputs

    first, second, third = Screener(bundle, BrokenEngine(bundle.manifest)).screen(ecgs)
    assert (type(first), type(first.error), first.record) == (Refused, EngineFailed, ecgs[0])
    assert [type(answer) for answer in (second, third)] == [Screening] * 2

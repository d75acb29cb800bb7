"""The tree of errors is the one that its module draws, and its codes can be told apart."""

import re

import numpy as np

from schemas import errors
from schemas.errors import CardiacNetsError, EngineFailed, MalformedRecord, RecordError, UnusableSignal


def tree(kind):
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


OURS = [kind for kind in tree(CardiacNetsError) if kind.__module__ == errors.__name__]


def test_the_drawing_names_every_error_in_its_place():
    drawn = re.findall(r"^ {4}(.*?)(\w+)(?:  .*)?$", errors.__doc__, flags=re.MULTILINE)
    depth_of = {name: len(branch) // 4 for branch, name in drawn}
    assert depth_of == {kind.__name__: len(kind.__mro__) - len(CardiacNetsError.__mro__) for kind in OURS}


def test_every_error_has_a_code_of_its_own():
    codes = [kind.code for kind in OURS if kind is not RecordError]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch("[a-z][a-z0-9_]*", code) for code in codes)


def test_a_finer_code_replaces_the_class_code_on_the_wire():
    assert UnusableSignal("A lead is flat.", code="flat_lead", lead="V1").wire_code == "flat_lead"
    assert MalformedRecord("It is none.").wire_code == "malformed_record"
    engine = EngineFailed("It raised.")
    assert (engine.wire_code, engine.numbers, str(engine)) == ("engine_failed", {}, "It raised.")


def test_a_measurement_by_numpy_becomes_a_plain_number():
    assert type(RecordError("It is odd.", peak_mv=np.float64(1.5)).numbers["peak_mv"]) is float

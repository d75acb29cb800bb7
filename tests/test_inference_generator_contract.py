"""What a cmr-worker relies on in a generator: one suite over the real one and over the tests' own."""

import numpy as np
import pytest
from fake_generator import FakeGenerator

from inference.cine import CineGeometry
from inference.generator import CineGenerator
from schemas.errors import EngineFailed
from schemas.messages import ModelReference

SEEDS = (7, 2**32 - 1)


@pytest.fixture(scope="module", params=[FakeGenerator, CineGenerator.load], ids=["fake", "real"])
def generator(request):
    generator = request.param()
    yield generator
    generator.close()
    generator.close()  # again does nothing
    with pytest.raises(EngineFailed):
        generator.draw(unit_vectors(1), [1])


def unit_vectors(count):
    vectors = np.random.default_rng(3).standard_normal((count, 256))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def drawn(generator):
    return generator.draw(unit_vectors(2), SEEDS)


def test_it_draws_a_cine_of_its_geometry_for_each_embedding(generator, drawn):
    assert isinstance(generator.reference, ModelReference)
    assert isinstance(generator.geometry, CineGeometry)
    assert drawn.dtype == np.uint8
    assert drawn.shape == (2, *generator.geometry.shape)
    assert drawn.flags.writeable
    assert drawn[0].std() > 0


def test_a_cine_is_the_same_alone_and_in_any_company(generator, drawn):
    assert np.array_equal(generator.draw(unit_vectors(2)[1:], SEEDS[1:])[0], drawn[1])


def test_another_embedding_draws_another_cine(generator, drawn):
    assert not np.array_equal(generator.draw(unit_vectors(2)[1:], SEEDS[:1])[0], drawn[0])


def test_nobody_asks_and_nothing_is_drawn(generator):
    assert generator.draw(unit_vectors(0).reshape(0, 256), []).shape == (0, *generator.geometry.shape)

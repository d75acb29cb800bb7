"""A small cine and the request that it answers, for tests."""

from datetime import UTC, datetime

import numpy as np
from fake_generator import FakeGenerator

from schemas.identity import cine_seed, report_id, request_id
from schemas.messages import CmrRequest, ModelReference
from stream.cines.maker import compose_cine

MODEL = ModelReference(name="m", version="1", trained=False, weights="untrained")


def sample_request(record_id="r-1", model=MODEL):
    """Return a request as a worker sends it."""
    embedding = np.random.default_rng(len(record_id)).standard_normal(256)
    report = report_id(record_id, model)
    return CmrRequest(
        request_id=request_id(report),
        report_id=report,
        record_id=record_id,
        patient_id="p",
        model=model,
        embedding=tuple((embedding / np.linalg.norm(embedding)).tolist()),
        seed=cine_seed(record_id, model),
        created_at=datetime.now(UTC),
    )


def sample_cine(request=None, generator=None):
    """Return the cine of a request."""
    request, generator = request or sample_request(), generator or FakeGenerator()
    (frames,) = generator.draw(np.array([request.embedding], np.float32), [request.seed])
    return compose_cine(
        frames,
        generator,
        record_id=request.record_id,
        report_id=request.report_id,
        model=request.model,
        seed=request.seed,
        embedding=request.embedding,
    )

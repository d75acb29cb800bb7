"""Processes that simulate and learn."""

import resource

import numpy as np

from training.cohort import process_pool as processes

ARRAYS, ARRAY_BYTES = 6, 8 * 2**20


def pages_asked_for():
    """Return how many pages the kernel gave for arrays as large as those that were freed just before."""
    before = 0
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        arrays = [np.ones(ARRAY_BYTES, np.uint8) for _ in range(ARRAYS)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_freed_arrays_serve_the_next_ones():
    with processes.open_pool(1) as pool:
        asked = pool.submit(pages_asked_for).result()
    assert asked < ARRAY_BYTES / resource.getpagesize()

"""The numbers on which the preprocessing, the networks and the cohorts must agree.

Two more belong to the contract and lie in `schemas`: `ecg_record.MAX_STEP` and `messages.EMBEDDING_SIZE`.
"""

from __future__ import annotations

from typing import Final

SAMPLE_RATE_HZ: Final = 250
"""The networks take ECGs of this rate."""

CROP_SAMPLES: Final = 2250
"""A crop is 9 seconds of an ECG at this rate."""

MICROVOLTS_PER_STEP: Final = 5.0
"""Cohorts and simulated ECGs are kept in these steps. So are ECGs of files that a finer step would overflow."""

RECORDED_RATE_HZ: Final = 500
"""Cohorts and simulated ECGs are kept at this rate."""

RECORDED_SAMPLES: Final = 5000
"""Cohorts and simulated ECGs last 10 seconds at this rate."""

COHORT_PIXEL_MM: Final = 2.35
"""The edge of a pixel in a cohort's cines of 96 × 96 pixels: exact for simulated ones, and for own ones whose files say
how large a pixel is; about right for UK Biobank's."""

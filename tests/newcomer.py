"""The loop that a newcomer to Faust would write: one record at a time, SciPy, torch eager, everything in the agent.

The benchmark's yardstick, with the same records, weights, crops and messages as the worker. Settings come from the
environment, as the worker's do.
"""

import os
from datetime import UTC, datetime

import faust
import numpy as np
import torch

from inference.bundle import default_bundle, load_bundle
from inference.export import restore_network
from inference.gate import examine
from inference.leads import arrange
from inference.readout import Readout
from inference.report import compose_report
from inference.waveform import preprocess_reference
from schemas.codec import decode_ecg
from schemas.messages import Quality, encode_message
from schemas.topics import ECG_RECORDS, ECG_RISK
from stream.settings import load_settings

settings = load_settings(os.environ)
app = faust.App(
    "newcomer",
    broker=f"kafka://{settings.broker}",
    web_enabled=False,
    store="memory://",
    topic_partitions=settings.partitions,
    broker_session_timeout=6,
    broker_rebalance_timeout=4,
    broker_heartbeat_interval=1,
    consumer_max_fetch_size=8 * 2**20,
)

"""The loop that a newcomer to Faust would write: one record at a time, SciPy, torch eager, all of it in the agent.

The benchmark's yardstick: the same records, weights, crops and report as the worker's. Settings come from the
environment, as the worker's do.
"""

import os
from datetime import UTC, datetime

import faust
import numpy as np
import torch

from inference.bundle import default_bundle, load_bundle
from inference.export import restore_network
from inference.leads import arrange_leads
from inference.readout import Readout
from inference.report import compose_report
from inference.waveform import preprocess_reference
from schemas.codec import decode_ecg
from schemas.messages import Quality, encode_message
from schemas.topics import ECG_RECORDS, ECG_RISK
from stream.settings import load_settings

settings = load_settings(os.environ)
bundle = load_bundle(default_bundle())
network = restore_network(bundle)
readout = Readout(bundle.manifest)
n_crops = bundle.manifest.input.n_crops

app = faust.App(
    "newcomer",
    broker=f"kafka://{settings.kafka.broker}",
    web_enabled=False,
    topic_partitions=settings.kafka.partitions,
    topic_disable_leader=True,
    broker_rebalance_timeout=4,
    broker_session_timeout=6,
    broker_heartbeat_interval=1,
)
records = app.topic(ECG_RECORDS, value_type=bytes, value_serializer="raw")
risks = app.topic(ECG_RISK, value_type=bytes, value_serializer="raw")


@app.agent(records)
async def screen(stream):
    async for value in stream:
        record = decode_ecg(value)
        steps = np.frombuffer(record.samples, "<i2").reshape(len(record.leads), -1)
        signals, derived = arrange_leads(steps[None] * (record.microvolts_per_step / 1e3), record.leads)
        crops = preprocess_reference(signals, record.sample_rate_hz, n_crops)[0]
        with torch.no_grad():
            outputs = network(torch.from_numpy(crops.astype(np.float32)))
        (finding,) = readout.read({name: output.numpy() for name, output in outputs.items()}, n_crops)
        quality = Quality(
            warnings=(),
            sample_rate_hz=record.sample_rate_hz,
            duration_s=record.n_samples / record.sample_rate_hz,
            derived_leads=derived,
        )
        report = compose_report(record, quality, finding, bundle.reference, datetime.now(UTC))
        await risks.send(key=record.record_id, value=encode_message(report))


if __name__ == "__main__":
    app.main()

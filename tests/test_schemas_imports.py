"""A device fleet needs schemas/ alone: it loads nothing heavy."""

import subprocess
import sys

from waiting import PATIENCE_S

PARTS = (
    "codec",
    "differences",
    "messages",
    "topics",
    "identity",
    "cloudevents",
    "ecg_record",
    "errors",
    "json_schemas",
    "avro_types",
    "ecg_message",
    "ecg_schema",
    "writer_schema",
)
HEAVY = {"numpy", "scipy", "torch", "faust", "aiokafka", "onnxruntime", "openvino", "redis", "pandas", "wfdb"}


def loaded_by(*statements):
    program = ";".join([*statements, "import sys", "print(*sys.modules)"])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_every_part_of_schemas_loads_no_heavy_module():
    loaded = loaded_by("import schemas", *(f"import schemas.{part}" for part in PARTS))
    assert not loaded & HEAVY


def test_importing_schemas_loads_no_other_storey():
    loaded = loaded_by("import schemas", *(f"import schemas.{part}" for part in PARTS))
    assert not loaded & {"engines", "inference", "training", "stream"}


def test_a_raw_record_is_encoded_and_decoded_without_numpy():
    loaded = loaded_by(
        "from schemas.codec import decode_ecg, encode_ecg",
        "from schemas.ecg_record import EcgRecord",
        "ecg = EcgRecord(record_id='r', leads=('I',), sample_rate_hz=1., microvolts_per_step=1., samples=b'ab')",
        "assert decode_ecg(encode_ecg(ecg, compress=False)) == ecg",
    )
    assert "numpy" not in loaded

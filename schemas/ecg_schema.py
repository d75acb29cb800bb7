"""The published Avro schema of ECG records: its versions, and the address by which a producer may name each of them.

A new version adds optional fields at the end, and takes nothing away. So a value that names no schema can be read
whichever version wrote it: it ends where its version ends.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

AVRO_SCHEMA: dict[str, Any] = json.loads((files(__package__) / "ecg_record.avsc").read_text(encoding="utf-8"))
"""The newest version; register this one where a schema registry is used."""

SAMPLES = "samples"
REMARKS = "remarks"
FIRST_VERSION_FIELDS = [field["name"] for field in AVRO_SCHEMA["fields"]].index(SAMPLES) + 1
"""Version 1.0 ended with the samples, 1.1 with the site, 1.2 with the remarks."""

VERSION_1_0 = "urn:cardiacnets:schema:v1.0:ecg_record.avsc"
VERSION_1_1 = "urn:cardiacnets:schema:v1.1:ecg_record.avsc"
VERSION_1_2 = "urn:cardiacnets:schema:v1.2:ecg_record.avsc"
"""What a producer may say in the header `ce_dataschema`."""

FINGERPRINTS = {
    bytes.fromhex("ad16cfbcdebd2294"): VERSION_1_0,
    bytes.fromhex("5e55c3e73878e436"): VERSION_1_1,
    bytes.fromhex("6409cb9d801869b6"): VERSION_1_2,
}
"""The versions by the fingerprint in Avro's single-object encoding: CRC-64-AVRO, little-endian."""

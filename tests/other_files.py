"""Writes ECGs in formats that `ecgdatakit` reads for us: a Mortara ELI's XML and a Kardia's JSON."""

import base64
import json

from schemas.ecg_record import LEADS


def mortara(steps, names=LEADS, units_per_mv="200", channel="", more=""):
    """Return an ECG of a Mortara ELI: XML."""

    def written(name, samples):
        data = base64.b64encode(samples.astype("<i2").tobytes()).decode()
        scale = f'UNITS_PER_MV="{units_per_mv}"' if units_per_mv else ""
        return (
            f'<CHANNEL NAME="{name}" SAMPLE_FREQ="500" {scale} DURATION="{len(samples)}" BITS="16" FORMAT="SIGNED" '
            f'ENCODING="BASE64" {channel} DATA="{data}"/>'
        )

    channels = "".join(written(name, samples) for name, samples in zip(names, steps, strict=True))
    subject = '<SUBJECT LAST_NAME="Roe" FIRST_NAME="Jane" GENDER="Female" AGE="66" DOB="19510502"/>'
    return (
        f'<?xml version="1.0"?><ECG ACQUISITION_TIME="20201116214439"><SOURCE MANUFACTURER="Mortara Instrument, Inc."'
        f' MODEL="ELI 250"/>{subject}{channels}{more}</ECG>'
    ).encode()


def kardia(steps, **changes):
    samples = {
        f"lead{name}": steps[place].tolist() for place, name in enumerate(("I", "II", "III", "AVR", "AVL", "AVF"))
    }
    raw = {"frequency": 500, "amplitudeResolution": 5000, "numLeads": 6, "samples": samples} | changes
    return json.dumps(
        {"id": "1", "recordedAt": "2020-11-16T21:44:39Z", "duration": 10000, "data": {"raw": raw}}
    ).encode()

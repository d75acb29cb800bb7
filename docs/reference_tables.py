"""Writes `docs/reference/`: the tables of settings, metrics, codes and so on, read from the code by `make docs`.

A test holds the committed pages against what this module returns, and every code against `REJECTIONS`, `WARNINGS` and
`CINE_FAILURES`, so that none is without an explanation.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import get_args

import msgspec
from msgspec import inspect as types
from msgspec.structs import FieldInfo

from inference.ecg_measurements import NOT_MEASURABLE, UNITS
from inference.eligibility import excluding
from inference.fhir_code_system import CODES_VERSION
from inference.fhir_codes import CODES, LOINC_MEASUREMENTS, OWN_CODES, TITLES, Kind, OwnCode
from inference.lead_names import PREFIXES, codes, own_names
from inference.phenotypes import MEASUREMENTS
from inference.reading.units import TO_MILLIVOLTS
from schemas.ecg_record import LEADS
from stream.settings import PREFIX, Settings
from training.cohort.plausible import BOUNDS

ROOT = Path(__file__).parent.parent
FOLDER = Path(__file__).parent / "reference"
WRITTEN = "<!-- Written by docs/reference_tables.py from the code; `make docs` writes it again. -->\n\n"


@dataclass(frozen=True, slots=True)
class Explained:
    """What a code means, and what whoever sees it can do."""

    means: str
    remedy: str


REJECTIONS = {
    "malformed_record": Explained(
        "The value is not an ECG record, or its fields contradict each other. The sentence names the field.",
        "Encode with the published schema. Check the field that the sentence names.",
    ),
    "empty_value": Explained(
        "The message has no value (a tombstone), or a value of no bytes.",
        "Publish the ECG itself. An ECG that was published cannot be taken back.",
    ),
    "foreign_framing": Explained(
        "The value is something else than a record in a framing that is taken. The sentence and `numbers.framing` name "
        "it: `aws_glue`, `apicurio`, `avro_container_file`, `json`, `cloudevents_structured`, `base64`, `protobuf`, "
        "`gzip`, `zlib`, `zstd`, `lz4`, `snappy`, `xz`, `zip`, `dicom`, `xml`, `ishne`, `hl7_v2`, `arrow`, `numpy`, "
        "`java_object`, `text`.",
        "The sentence says what the producer does instead: mostly, write the bare Avro record.",
    ),
    "oversized_record": Explained(
        "A size is over its bound: 4 MiB for the value, 8 KiB for all fields before the samples, 4,000,000 bytes for "
        "the decompressed samples, 256 characters for an id, 16 remarks.",
        "Send a shorter ECG. Screening uses the first 10 s only.",
    ),
    "unreadable_record": Explained(
        "The bytes at this place of the topic are no record of Kafka's, so that nobody can say what was meant: a "
        "header's name is not UTF-8, a length or a count is impossible, the checksum is wrong, the compression is "
        "damaged. The sentence says which. `source` is the place; where one fault makes many offsets unreadable, "
        "`numbers` has the first and the last.",
        "Send the ECG again. The client that wrote the place is damaged, or somebody wrote it by hand: look who has "
        "the right to write to the topic.",
    ),
    "oversized_batch": Explained(
        "The ECG came in a compressed batch of messages that unfolds to more than 16 MiB, or in a batch of more than "
        "10,000 messages. None of the batch was read. "
        "`source` and `numbers` have the offsets.",
        "Send again in smaller batches: set the producer's `batch.size` to 1 MiB or less.",
    ),
    "unknown_schema": Explained(
        "The value names the schema that wrote it, by the id in a Confluent frame or in the header `ce_dataschema`. "
        "That schema cannot be had: no registry is set, the registry does not have it, or the address is not in the "
        "registry. `numbers` has the id. Nothing is read by its position in the bytes.",
        "Set `CARDIACNETS_SCHEMA_REGISTRY`. Register the schema before you write by it. Or send the value without a "
        "frame.",
    ),
    "unusable_schema": Explained(
        "The schema that wrote the value was found, and no record of it can be resolved into ours: a field that every "
        "record needs is absent, or has a type that Avro does not promote to ours. The sentence names the field.",
        "Correct the schema: start from `schemas/ecg_record.avsc`, and add fields of your own.",
    ),
    "id_of_another_ecg": Explained(
        "The record's id was used for another ECG before: another patient, other leads, another rate, gain or other "
        "samples. That ECG keeps its report. This one was not answered by a report, because its report would have the "
        "same id.",
        "Give each ECG an id of its own, and publish this one again under it.",
    ),
    "unreadable_file": Explained(
        "The file was taken for an ECG, and holds none that can be screened. The sentence says what it was taken for, "
        "and what was found.",
        "Do what the sentence says.",
    ),
    "missing_file": Explained(
        "The file is not there, or a file that its header names, or it is a link that leads nowhere.", "Check the path."
    ),
    "missing_header": Explained(
        "A signal file of WFDB has no header beside it.", "Copy the header, whose name ends in `.hea`, too."
    ),
    "empty_file": Explained("The file has no byte.", "Copy it again."),
    "permission_denied": Explained(
        "The user who runs the command may not read the file, or the folder.", "Change the permissions."
    ),
    "read_error": Explained(
        "The system failed to read the file. The sentence has the system's reason.",
        "Check the disk, or the network drive.",
    ),
    "reader_failed": Explained(
        "The reader of the file's format broke on it: the file is damaged, or the reader has a fault.",
        "Copy the file again. If that does not help, report the format, the device and the sentence.",
    ),
    "reader_out_of_memory": Explained(
        "The file cannot be read within the memory that reading may take. No ECG at rest needs so much.",
        "Copy the file again. If it came from somebody else, it may be an attack.",
    ),
    "reader_out_of_time": Explained(
        "The file cannot be read within the time that reading may take. No ECG at rest needs so much.",
        "Check the disk, or the network drive. If the file came from somebody else, it may be an attack.",
    ),
    "reader_died": Explained(
        "The library that reads the file's format ended its process.",
        "Copy the file again. If that does not help, report the format and the device.",
    ),
    "not_an_ecg": Explained(
        "The content is no ECG: a text, a table, a picture, a DICOM without a waveform. The sentence names it.",
        "Nothing, if you knew.",
    ),
    "archive": Explained("The file is an archive, such as a zip.", "Unpack it, if it holds ECGs."),
    "special_file": Explained("A pipe, a socket or a device. It is never opened.", "Save the ECG as a file."),
    "unusable_signal": Explained("The gate refused the signal. Finer codes say why.", "See the code's own row."),
    "unsupported_rate": Explained("The sample rate is outside 100 to 1000 Hz.", "Correct `sample_rate_hz`."),
    "too_short": Explained("The ECG lasts less than 9 s.", "Record at least 9 s, better 10 s."),
    "missing_lead": Explained(
        "A lead is missing that cannot be derived. I, II and V1 to V6 are needed.",
        "Attach all electrodes. Check the leads' names.",
    ),
    "duplicate_lead": Explained(
        "Two leads have the same standard name, such as `V1` and `Lead V1`.", "Send each lead once."
    ),
    "not_simultaneous": Explained(
        "The file holds all leads, but not for 9 s at one time: they were recorded one after another, as on a page of "
        "four columns. The sentence lists what the file holds, part by part.",
        "Export the ECG with all leads at one time.",
    ),
    "nan_run": Explained(
        "Samples are missing for more than 0.2 s in one go, or more than 2 % of a lead, and no other stretch of at "
        "least 9 s is without such a gap. `numbers` has the leads and the longest gap of the first 10 s.",
        "Check the electrode or link.",
    ),
    "interleaved_samples": Explained(
        "The samples lie sample after sample (I, II, III, …, I, II, III, …), and not lead after lead: only in that "
        "order do they make an ECG.",
        "Write all samples of a lead before those of the next one.",
    ),
    "swapped_bytes": Explained(
        "The samples are big-endian: only with their two bytes swapped do they make an ECG.",
        "Write little-endian int16.",
    ),
    "flat_lead": Explained(
        "A lead does not move for half of the seconds or more.", "Check the electrode; record again."
    ),
    "saturated": Explained(
        "More than 2 % of a lead's samples stand at its highest or lowest value, far from the baseline.",
        "Lower the amplifier's gain; record again.",
    ),
    "implausible_gain": Explained(
        "The amplitudes are too large or too small for a heart in all leads.", "Correct `microvolts_per_step`."
    ),
    "transient": Explained("The moment was bad, and further tries did not help.", "Publish the record again."),
    "engine_failed": Explained(
        "The engine failed on this record each time it was tried alone.", "Read the worker's log; publish it again."
    ),
    "overloaded": Explained("A bounded queue was full.", "Publish the record again; add workers."),
    "schema_registry_unavailable": Explained(
        "The schema registry did not answer, or refused our credentials, each time it was asked.",
        "Check the registry and the worker's log; publish the record again.",
    ),
    "shutting_down": Explained(
        "Serving stopped first. A worker never rejects a record for this: the next worker takes it.", "Nothing."
    ),
}
"""What `ecg.rejected.v1` and `screen --json` may say of a record."""

FILES = {
    "hidden": Explained(
        "A hidden file or folder, or one that the system keeps for itself, such as `__MACOSX` or `Thumbs.db`. Nobody "
        "looks into it.",
        "Rename it, if it holds ECGs.",
    ),
    "walked_already": Explained("A link leads to a folder that is walked under another name.", "Nothing."),
    "doubled_id": Explained(
        "Another file of this run has the same record id and another ECG. The second file is not sent.",
        "Rename it, or take the ids from the paths with `--ids path`.",
    ),
    "doubled_record": Explained(
        "The same record was sent already in this run. It was sent again, and has the same report.", "Nothing."
    ),
    "doubled_ecg": Explained(
        "The same samples were sent already in this run under another id. Both were sent, and have a report each.",
        "Look whether one of the two names is wrong.",
    ),
    "not_in_table": Explained(
        "`cohort import`: the table has no row of this participant.", "Nothing, if they withdrew."
    ),
    "doubled_row": Explained(
        "`cohort import`: the table has a second row of this participant. The first row is taken.", "Correct the table."
    ),
    "doubled_file": Explained(
        "`cohort import`: another file has the same name. The first one is taken.", "Remove one of the two."
    ),
    "no_ecg": Explained("`cohort import`: a scan whose visit has no ECG.", "Nothing."),
    "unreadable_scan": Explained(
        "`cohort import`: the scan cannot be read. The ECG is taken without it.", "Do what the sentence says."
    ),
    "other_patient": Explained(
        "`cohort import`: the header names another patient than the table.", "Correct the table."
    ),
    "unknown_column": Explained(
        "`cohort import pairs`: the table has a column that nobody reads. It is left out.",
        "Nothing, or rename it after a column that is read.",
    ),
    "faulty_row": Explained(
        "`cohort import pairs`: a row of the table cannot be understood, or contradicts another one. No ECG was read.",
        "Correct the table.",
    ),
    "implausible_value": Explained(
        "`cohort import pairs`: a value is outside its [bounds](measurements.md). The ECG is taken, and the value "
        "counts as unknown.",
        "Correct the table.",
    ),
    "unreadable_labels": Explained(
        "`cohort import`: the diagnoses are no list of ICD-10 codes in the words of Python, NumPy, pandas or JSON.",
        "Correct the table.",
    ),
}
"""What the errors file of `publish`, `screen` and `cohort import` may say of a file, beside `REJECTIONS`."""

NOT_ASSESSABLE = {
    "paced": Explained(
        "The rhythm is paced: the record says so, or pacing spikes are in the signal. A pacemaker makes the QRS wide, "
        "whatever the heart behind it is like.",
        "Do not take the silence for a good sign. Ask for the examination itself.",
    ),
    "paediatric": Explained(
        "The patient is younger than 18 years, and than the model is for.", "Use an assessment made for children."
    ),
    "age_out_of_range": Explained(
        "The patient is an adult of an age that the model or the site is not for.",
        "Look at `min_age_years` and `max_age_years` of the manifest and of the settings.",
    ),
    "age_unknown": Explained(
        "The record has no age, and the model or the site asks for one.", "Send `age_years` with the record."
    ),
    "leads_exchanged": Explained(
        "Electrodes or leads look exchanged; the warnings say which.", "Check the electrodes; record again."
    ),
    "low_quality": Explained(
        "The signal is doubtful: the warnings say why ("
        + ", ".join(f"`{code}`" for code in excluding("low_quality"))
        + ").",
        "Record again.",
    ),
    "untrained_weights": Explained(
        "The bundle's manifest says `trained: false`: its weights learned from nothing.", "Use a trained bundle."
    ),
    "head_not_learned": Explained(
        "The model did not learn this disease: no label taught it. Other diseases may be assessable.",
        "Use a bundle that learned it.",
    ),
}
"""What `reasons` of a risk may say, whose verdict is `not_assessable`."""

WARNINGS = {
    "short_nan_run": Explained(
        "A few missing samples were filled in: from the other leads, or from a similar beat if all leads lack them. "
        "[Benchmarks](../benchmarks.md#what-a-repair-does-to-the-answers) say how much that changes the answers.",
        "Check the link.",
    ),
    "gap_left_out": Explained(
        "Too many samples are missing in the first 10 s, so other seconds of the record were screened. `numbers` has "
        "the gap, and from where to where was screened.",
        "Check the electrode or link.",
    ),
    "partly_flat_lead": Explained("A lead does not move for less than half of the seconds.", "Check the electrode."),
    "low_amplitude": Explained(
        "The amplitudes are small: low voltage, which may be a sign of disease, or a gain that is too small.",
        "Check `microvolts_per_step`.",
    ),
    "high_peak": Explained("A peak of more than 10 mV is an artefact.", "Check for defibrillation or a loose cable."),
    "einthoven": Explained("I + III does not equal II.", "Check for exchanged limb electrodes."),
    "lead_order": Explained("aVR, aVL and aVF fit better under each other's names.", "Check the leads' names."),
    "limb_lead_reversal": Explained(
        "The limb leads look as if electrodes had been exchanged; `numbers` say which (`exchange`, RA-LA for right and "
        "left arm) and how probable that is if each exchange and none are equally likely before looking.",
        "Check the electrodes; record again. Paced rhythms and a heart on the right side may look so too.",
    ),
    "chest_lead_reversal": Explained(
        "The chest leads look as if two electrodes had been exchanged; `numbers` say which, as for the limb leads.",
        "Check the electrodes of V1 to V6; record again.",
    ),
    "paced": Explained("The patient has a pacemaker. The network knows few such ECGs.", "Read the ECG with care."),
    "pacing_spikes": Explained(
        "Pacing spikes are in the signal, at the rate and of the height in `numbers`. They are looked for at 500 Hz "
        "and more; `quality.pacing` says whether they could be. The network knows few such ECGs.",
        "Read the ECG with care.",
    ),
    "no_like_beats": Explained(
        "Fewer than three whole beats of the ECG are alike, so not even its rate was measured.",
        "Look at the ECG: is it a heart, or noise? Record again.",
    ),
    "implausible_rate": Explained(
        "The beats come more slowly or more quickly than a heart's; `numbers` says how many a minute.",
        "Check the sample rate, and the ECG for noise.",
    ),
    "age_unknown": Explained(
        "The record has no age. The sentence says for which ages the model is.", "Send `age_years` with the record."
    ),
    "screened_anyway": Explained(
        "The site's setting `CARDIACNETS_SCREEN_ANYWAY` has ECGs screened that the model is not for: `numbers.reasons` "
        "lists why. Every report of this site has this warning.",
        "Look at who decided so, and whether it still holds.",
    ),
    "narrow_qrs": Explained(
        "The QRS complex is narrower than any heart's; `numbers` says how narrow.",
        "Check for pacing spikes and artefacts.",
    ),
    "longer_than_10s": Explained(
        "Only the first 10 s were screened, or other seconds if too many samples are missing in the first. `numbers` "
        "says which.",
        "Nothing; send the part that matters first.",
    ),
    "derived_leads": Explained("Limb leads that were absent were computed from I and II.", "Nothing."),
    "lead_twice": Explained(
        "The ECG was put together of several parts of the file, of which two have different samples of one lead at one "
        "time, such as a filtered one and a raw one. The longer one, or the first one, was taken.",
        "Export the ECG with each lead once.",
    ),
    "several_recordings": Explained(
        "The file holds several ECGs that could be screened. The first one was.",
        "Export the others as files of their own.",
    ),
    "leads_aligned": Explained(
        "The file's leads begin at different times. The time that they share was taken.", "Nothing."
    ),
    "cut_to_fit": Explained("The file is longer than a record. Its first part was taken.", "Nothing."),
    "derived_signal": Explained(
        "The file says that the samples were computed from others, and holds no ECG that was recorded.",
        "Export the ECG as it was recorded.",
    ),
    "recorded_at_unsure": Explained(
        "The file's time has no zone, and the clocks of the zone were changed in that hour.",
        "The time may be an hour off.",
    ),
    "recorded_at_impossible": Explained(
        "The file's time is beyond what a calendar holds. The record has none.", "Check the device's clock."
    ),
    "file_length": Explained(
        "The file is shorter or longer than it says. What is whole was read.", "Copy or export the file again."
    ),
    "file_checksum": Explained("A checksum in the file is wrong.", "Copy or export the file again."),
    "doubtful_lead": Explained(
        "The recorder marked a lead as noisy, invalid or disconnected.", "Check the electrode; read with care."
    ),
    "unpublished_format": Explained(
        "The vendor publishes no description of the file's format.", "Compare with the recorder's own print."
    ),
    "library_warning": Explained(
        "The library that read the file warned of something. The sentence says of what.", "Read the sentence."
    ),
    "assumed_rate": Explained(
        "The file gives no sample rate. That of the format's standard was taken.", "Compare the heart rate."
    ),
    "doubtful_times": Explained(
        "The times in the file do not fit what the file says of gaps.", "Look whether the recording has gaps."
    ),
    "implausible_time": Explained(
        "The time of recording is before 1985, more than ten minutes in the future, or was written in another unit "
        "than the schema's. Archives whose dates were shifted to protect patients, such as MIMIC-IV's (2100 to 2200), "
        "have this warning on every ECG, and rightly so.",
        "Set the device's clock. Write `recorded_at` in microseconds since 1970, in UTC.",
    ),
    "uncalibrated": Explained(
        "The header of a WFDB record gives no gain. 200 steps were taken for 1 mV, as WFDB has it.",
        "Write the gain into the header.",
    ),
    "unknown_unit": Explained(
        "A lead is in a unit that is not known to be one of voltage. The lead was left out, and was derived.",
        "Correct the unit in the file.",
    ),
    "part_unread": Explained(
        "A part of the file, such as a multiplex group, cannot be read. The others were.", "Read the sentence."
    ),
    "padding_kept": Explained(
        "The file calls a value missing that the signal takes itself. It counts as missing in longer runs alone.",
        "Nothing.",
    ),
    "lead_called_otherwise": Explained(
        "The code of a channel names one lead, its words another one. The code was believed.", "Check the leads' names."
    ),
    "recorded_at_unreadable": Explained(
        "The file's date and time are not written as its format has them. The record has none.",
        "Export the ECG with the date and time that the format has.",
    ),
    "offset_not_applied": Explained(
        "A MUSE file gives an offset of the samples whose meaning is not published. It was left alone.",
        "Nothing: a constant offset does not reach the network.",
    ),
    "more_remarks": Explained("The record has more remarks than the 16 that are kept.", "Read the file itself."),
}
"""What a report's `quality.warnings` may say: the record was screened all the same."""

OF_ECG = {
    "heart_rate": "Beats a minute: of the mean interval between all beats, premature ones too.",
    "pr_interval": "From the onset of the P wave to that of the QRS complex.",
    "qrs_duration": "From the onset of the QRS complex to its end, in any lead.",
    "qt_interval": "From the onset of the QRS complex to the end of the T wave, by the tangent to its steepest fall.",
    "qtc_fridericia": "QT corrected for the rate: QT / ∛RR, RR in seconds.",
    "p_axis": "Of the P wave in the frontal plane, by its areas in I and aVF: 0° points left, 90° down.",
    "qrs_axis": "Of the QRS complex, likewise.",
    "t_axis": "Of the T wave, likewise.",
}

CINE_FAILURES = {
    "generation_failed": Explained("The generator failed each time.", "Read the cmr-worker's log; ask again."),
    "malformed_request": Explained(
        "The message is not a request, its embedding is not of length 1, or its ids and its seed do not follow from "
        "its record's id and its model.",
        "Check its producer.",
    ),
    "foreign_embedding": Explained(
        "The request comes from another model than the one whose embeddings the generator learned to read.",
        "Serve the bundle and the generator that belong together.",
    ),
    "oversized_cine": Explained(
        "The cine, or what the request names beside it, is larger than the dashboard takes, so it was not stored.",
        "Check the request's producer, and the generator's shape.",
    ),
    "redis_unavailable": Explained("Redis could not be reached within the deadline.", "Check Redis; ask again."),
    "redis_full": Explained(
        "Redis is at its memory limit and may evict nothing.", "Give Redis more memory; ask again."
    ),
    "overloaded": REJECTIONS["overloaded"],
    "transient": REJECTIONS["transient"],
}
"""Why `cmr.results.v1` may say `failed`."""

PROCESSES = {
    "Metrics": "worker",
    "CineMetrics": "cmr-worker",
    "KeeperMetrics": "alert-keeper",
    "DashboardMetrics": "dashboard",
    "WebhookMetrics": "alert-keeper",
    "BatcherCollector": "worker and cmr-worker",
    "GroupCollector": "worker, cmr-worker and alert-keeper",
}
"""Which process shows the metrics that a class makes."""
SUFFIXES = {"Counter": "_total", "Info": "_info"}
"""What Prometheus adds to a name on the wire."""


def pages() -> dict[str, str]:
    """Return the pages by file name."""
    return {
        "settings.md": settings_page(),
        "metrics.md": metrics_page(),
        "codes.md": codes_page(),
        "leads.md": leads_page(),
        "measurements.md": measurements_page(),
        "fhir.md": fhir_page(),
    }


def write_pages(folder: Path = FOLDER) -> None:
    """Write every page."""
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


def settings_page() -> str:
    """Return the page of all settings."""
    opening = f"""# Settings

Each setting is a variable `{PREFIX}…`, or a key in lower case without that prefix in the TOML file that
`{PREFIX}CONFIG` names. A command's option wins over the variable, and the variable over the file. An empty variable
counts as not set. A name that is not in this table is an error: the process does not start.

A password, a token and `{PREFIX}REDIS` may lie in a file: `{PREFIX}SASL_PASSWORD_FILE` names a file that holds the
password alone.

"""
    return WRITTEN + opening + "\n".join(_group_section(group) for group in msgspec.structs.fields(Settings))


def metrics_page() -> str:
    """Return the page of all metrics."""
    opening = """# Metrics

`/metrics` of `worker`, `cmr-worker`, `alert-keeper` and `dashboard` shows these to Prometheus. No label names a patient
or a record.

"""
    rows = sorted(
        (metric.process, f"`{metric.name}`", metric.kind, metric.labels, metric.text) for metric in _metrics()
    )
    return WRITTEN + opening + _table(("process", "metric", "kind", "labels", "what it counts"), rows)


def codes_page() -> str:
    """Return the page of all codes."""
    absent = [(f"`{code}`", f"{text[0].upper()}{text[1:]}.") for code, text in NOT_MEASURABLE.items()]
    return f"""{WRITTEN}# Codes

A later version may add codes: let pass what you do not know.

## Rejections

What `ecg.rejected.v1` and `cardiacnets screen --json` say of a record that was not screened. A rejection carries the
code for a program, a sentence for a person (`detail`) and the evidence (`numbers`).

{_code_table(REJECTIONS)}
## Files

What the errors file of `publish`, `screen` and `cohort import` (`--errors FILE`) says of a file, and what their
summaries count. It may hold any code of the rejections, too. Each line is a JSON object with `path`, `status`, `code`,
`detail` and `numbers`. `status` is `refused` (the file may be an ECG, and was not taken), `passed_over` (the file is
none) or `taken` (it was taken, and somebody should look at it).

{_code_table(FILES)}
## Warnings

What a report's `quality.warnings` say. The record was screened all the same. A device may add remarks to a record:
they follow these warnings, with the device's own codes.

{_code_table(WARNINGS)}
## What is not assessable

What `reasons` of a risk say. Its `verdict` is then `not_assessable`, `flagged` is false, and there is neither an alert
nor a cine. The probability stands in the report all the same, for research: it says nothing of this patient.

{_code_table(NOT_ASSESSABLE)}
## What cannot be measured

What a report's `ecg_measurements` say under `not_measurable`, where `value` is null.

{_table(("code", "what it means"), absent)}
## Cines that failed

What `cmr.results.v1` says beside `failed`.

{_code_table(CINE_FAILURES)}"""


def leads_page() -> str:
    """Return the page of the names of leads and units that are understood."""
    rows = [(f"**{lead}**", _quoted(own_names(lead)), _quoted(codes(lead))) for lead in LEADS]
    units = [
        (f"{millivolts:g}", _quoted(unit for unit in TO_MILLIVOLTS if TO_MILLIVOLTS[unit] == millivolts))
        for millivolts in sorted(set(TO_MILLIVOLTS.values()), reverse=True)
    ]
    return f"""{WRITTEN}# Leads and units

A record or a file may write the names of its leads in any of these ways. A name that is not here is passed over; where
a lead is missing, the error lists the names that were not recognised.

{_table(("lead", "names", "codes of MDC (IEEE 11073) and SCPECG"), rows)}
- Upper and lower case, full-width letters and digits, Roman numerals of one character, and the separators space, `_`
  and `.` make no difference.
- One of these may stand before a name, with or without a separator: {_quoted(filter(None, PREFIXES))}.
- A unit of voltage may stand after a name: `I (mV)`, `V1 [uV]`.
- `C1` to `C6` are the chest leads in the letters of IEC 60601-2-25. `D1`, `DI` and so on are the limb leads in Spanish,
  Portuguese and French.
- These are other leads, and never taken for one of the 12: `V7`, `V3R`, `rV4`, `-aVR`, `I-II`, `CM5`, `MCL1`, `X`.
- These may mean several leads, and are not recognised: `1`, `L1`, `ECG1`, `VR`, `R`. Neither are Greek and Cyrillic
  letters that look like Latin ones.
- Two names for one lead (`I` and `DI`) are refused as `duplicate_lead`.

## Units

How many millivolts a unit is. A number may stand before it: `0.1 uV`, `1e-6 V`. Case makes no difference. In a file,
samples in a unit that is not here are refused.

{_table(("millivolts", "units"), units)}"""


def measurements_page() -> str:
    """Return the page of the 82 measurements of cardiac MR, and of those of the ECG itself."""
    rows = [
        (f"`{each.name}`", each.unit, f"{BOUNDS[each.name].low:g} to {BOUNDS[each.name].high:g}", str(each.field))
        for each in MEASUREMENTS
    ]
    of_ecg = [
        (f"`{name}`", unit, ", ".join(code for code, _ in LOINC_MEASUREMENTS[name]), OF_ECG[name])
        for name, unit in UNITS.items()
    ]
    return f"""{WRITTEN}# Measurements

The 82 measurements of cardiac MR, by the names that reports, tables and cohorts give them. They are those of UK
Biobank's fields 24100 to 24181, defined by Bai et al. (Nature Medicine 2020). A strain is a percentage of the resting
length: negative where the wall shortens. Sixteen segments are those of the AHA. The six of longitudinal strain are
basal septal, basal lateral, mid septal, mid lateral, apical septal, apical lateral.

[`cohort import pairs`](../researchers.md#train-on-your-own-pairs) takes a value between the bounds. They are
wide: they find another unit or a slip, and no disease.

{_table(("name", "unit", "bounds", "field"), rows)}
## Of the ECG itself

What a report gives as `ecg_measurements`: measured in the average beat, without the network. A measurement has a value,
or a [code that says why it has none](codes.md#what-cannot-be-measured).
[Benchmarks](../benchmarks.md#classic-measurements) say how far they are from cardiologists' marks.

{_table(("name", "unit", "LOINC", "what it is"), of_ecg)}"""


def fhir_page() -> str:
    """Return the page of our codes in FHIR, by kind."""
    return f"""{WRITTEN}# Codes in FHIR

The codes of the system `{CODES}`, version {CODES_VERSION}. `cardiacnets fhir --codes` prints it as a CodeSystem, and
ValueSets of all codes and of each kind; `cardiacnets fhir --codes --server URL` gives them to a server. Beside a
code stand LOINC's that mean the same, or the disease in SNOMED CT. Units are UCUM's, fields UK Biobank's.

{"".join(map(_fhir_section, get_args(Kind)))}"""


def _fhir_section(kind: Kind) -> str:
    rows = [
        (f"`{code}`", own.display, _same_codes(own), own.unit or "", str(own.field or ""))
        for code, own in OWN_CODES.items()
        if own.kind == kind
    ]
    heading = f"## {TITLES[kind]}\n\nValueSet `{CODES}:{kind}`.\n\n"
    return heading + _table(("code", "means", "LOINC, SNOMED CT", "unit", "field"), rows) + "\n"


def _same_codes(own: OwnCode) -> str:
    loinc = [f"LOINC {code}" for code, _ in own.loinc]
    return ", ".join([*loinc, *([f"SNOMED CT {own.snomed[0]}"] if own.snomed else [])])


def codes_in_source(*names: str, under: Sequence[str] = ("schemas", "inference", "stream")) -> set[str]:
    """Return the literal codes that the source gives to calls and classes of these names.

    A call gives one as its first argument (`refuse("flat_lead", …)`) or as `code=`; a class as its attribute `code`.
    A sentence as first argument is none.
    """
    found: set[str] = set()
    for node in _nodes(*under):
        match node:
            case ast.Call(args=arguments, keywords=keywords) if _called(node) in names:
                given = [word.value for word in keywords if word.arg == "code"] or arguments[:1]
                literals = [value.value for value in given if isinstance(value, ast.Constant)]
                found |= {text for text in literals if isinstance(text, str) and text.isidentifier()}
            case ast.ClassDef(name=name, body=body) if name in names:
                found |= set(_own_code(body))
    return found


@dataclass(frozen=True, slots=True)
class _Metric:
    process: str
    name: str
    kind: str
    labels: str
    text: str


def _metrics() -> Iterator[_Metric]:
    for definition in _nodes("stream"):
        if isinstance(definition, ast.ClassDef):
            for node in ast.walk(definition):
                match node:
                    case ast.Call(args=[ast.Constant(value=str(name)), ast.Constant(value=str(text)), *rest]):
                        if name.startswith("cardiacnets_"):
                            kind = _called(node).removesuffix("MetricFamily")
                            yield _Metric(
                                process=PROCESSES[definition.name],
                                name=name + SUFFIXES.get(kind, ""),
                                kind=kind.lower(),
                                labels=", ".join(_labels(node, rest)),
                                text=text,
                            )


def _labels(call: ast.Call, rest: Sequence[ast.expr]) -> list[str]:
    if _called(call).endswith("MetricFamily"):
        rest = ()  # of a collected family: its figures
    given = [word.value for word in call.keywords if word.arg in {"labels", "labelnames"}] or rest[:1]
    return [ast.literal_eval(label) for value in given if isinstance(value, ast.List) for label in value.elts]


def _group_section(group: FieldInfo) -> str:
    """Return the heading and the table of one group of settings."""
    struct, described = types.type_info(group.type), _docstrings(group.type)
    fields = struct.fields if isinstance(struct, types.StructType) else ()
    rows = [
        (f"`{PREFIX}{field.encode_name.upper()}`", _default(field), _values(field.type), described.get(field.name, ""))
        for field in fields
    ]
    heading = f"## {group.name.capitalize()}\n\n{inspect.getdoc(group.type)}\n\n"
    return heading + _table(("variable", "default", "values", "what it does"), rows)


def _docstrings(kind: type) -> dict[str, str]:
    """Return the text below each attribute, which Python itself throws away."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    texts = {}
    for pair in pairwise(ast.iter_child_nodes(definition)):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = " ".join(text.split())
    return texts


def _default(field: types.Field) -> str:
    if field.default is msgspec.NODEFAULT:
        return ""
    if field.default is None:
        return "not set"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _values(kind: types.Type) -> str:
    """Return in words what a setting takes."""
    match kind:
        case types.UnionType(types=members):
            return ", ".join(_values(member) for member in members if not isinstance(member, types.NoneType))
        case types.LiteralType(values=values):
            return ", ".join(f"`{value}`" for value in values)
        case types.BoolType():
            return "`true`, `false`"
        case types.IntType() | types.FloatType():
            noun = "whole number" if isinstance(kind, types.IntType) else "number"
            return " ".join([noun, *_bounds(kind)])
        case types.CustomType():
            return "path"
    return "text"


def _bounds(kind: types.IntType | types.FloatType) -> Iterator[str]:
    lowest = [f"from {kind.ge:,}"] if kind.ge is not None else []
    above = [f"above {kind.gt:,}"] if kind.gt is not None else []
    most = [f"to {kind.le:,}"] if kind.le is not None else []
    yield from (*lowest, *above, *most)


def _nodes(*folders: str) -> Iterator[ast.AST]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _own_code(body: Sequence[ast.stmt]) -> Iterator[str]:
    for statement in body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code)))
                | ast.AnnAssign(target=ast.Name(id="code"), value=ast.Constant(value=str(code)))
            ):
                yield code


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _code_table(codes: dict[str, Explained]) -> str:
    rows = [(f"`{code}`", explained.means, explained.remedy) for code, explained in codes.items()]
    return _table(("code", "what it means", "what to do"), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    write_pages()

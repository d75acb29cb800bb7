"""ECG files in XML, made by hand: GE MUSE, HL7 aECG, Philips Sierra. Every part can be changed by its argument."""

import base64
import zlib

import numpy as np

from schemas.ecg_record import LEADS

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def made():
    """Yield seeds for the fuzzer: whole files, and files of a few samples with every part that the readers look at."""
    yield muse(muse_waveform(seconds=9.0), demographics=MUSE_DEMOGRAPHICS)
    yield muse(
        muse_waveform(kind="Median", seconds=0.2),
        muse_waveform(seconds=0.3, lead_fields="<LeadOff>TRUE</LeadOff><LeadTimeOffset>4</LeadTimeOffset>"),
        demographics=MUSE_DEMOGRAPHICS,
        diagnosis=muse_diagnosis(("Sinus rhythm", ""), ("not ", ""), ("paced", "ENDSLINE")),
    )
    yield aecg(aecg_series(aecg_set(samples=900)))
    yield aecg(
        aecg_series(aecg_set(samples=30, head="20200102030405.5+0100"), beat=aecg_set(samples=9)),
        aecg_series(aecg_set(samples=30, relative=True)),
        before=AECG_SUBJECT,
    )
    yield sierra(samples=900)
    yield sierra(samples=40, packed=True)
    yield sierra(samples=40, plain=True, extra=SIERRA_STATEMENT)
    yield sierra(samples=40, version="1.03").decode().encode("utf-16")


def counts(leads, samples, first=0):
    """Return (leads, samples) int16 that obey Einthoven's law, an ECG-like spike train, different in each lead."""
    places = np.arange(first, first + samples)
    wave = 160 * np.exp(-(((places % 90) - 45) ** 2) / 8.0) + 8 * np.sin(places / 15)
    rows = {name: wave * (0.4 + 0.1 * LEADS.index(name)) for name in LEADS}
    i, ii = np.round(rows["I"] / 2) * 2, np.round(rows["II"] / 2) * 2
    rows |= {"I": i, "II": ii, "III": ii - i, "aVR": -(i + ii) / 2, "aVL": i - ii / 2, "aVF": ii - i / 2}
    return np.stack([np.round(rows.get(name, wave)) for name in leads]).astype("<i2")


# --- GE MUSE ---------------------------------------------------------------------------------------------------------

MUSE_DEMOGRAPHICS = (
    "<PatientDemographics><PatientID>12345</PatientID><PatientLastName>Roe</PatientLastName>"
    "<PatientAge>61</PatientAge><AgeUnits>YEARS</AgeUnits><DateofBirth>05-08-1959</DateofBirth><Gender>FEMALE</Gender>"
    "</PatientDemographics><TestDemographics><AcquisitionDate>07-04-2020</AcquisitionDate>"
    "<AcquisitionTime>13:05:09</AcquisitionTime></TestDemographics>"
)


def muse(
    *waveforms, demographics="", diagnosis="", encoding="utf-8", prolog='<!DOCTYPE RestingECG SYSTEM "restecg.dtd">'
):
    """Return a MUSE file."""
    body = f"<RestingECG>{demographics}{diagnosis}{''.join(waveforms)}</RestingECG>"
    return f'<?xml version="1.0" encoding="{encoding}"?>\n{prolog}\n{body}'.encode(encoding)


def muse_waveform(kind="Rhythm", leads=EIGHT, seconds=10.0, rate=250, exponent=0, start=0, first=0, **lead):
    """Return a waveform of leads that are all alike."""
    rows = counts(leads, round(seconds * rate * 10.0**exponent), first)
    data = "".join(muse_lead(name, row, **lead) for name, row in zip(leads, rows, strict=True))
    return (
        f"<Waveform><WaveformType>{kind}</WaveformType><WaveformStartTime>{start}</WaveformStartTime>"
        f"<NumberofLeads>{len(leads)}</NumberofLeads><SampleType>CONTINUOUS_SAMPLES</SampleType>"
        f"<SampleBase>{rate}</SampleBase><SampleExponent>{exponent}</SampleExponent>{data}</Waveform>"
    )


def muse_lead(name, row, per_bit="4.88", units="MICROVOLTS", count=None, data=None, crc=None, lead_fields=""):
    """Return a lead."""
    payload = row.tobytes()
    data = base64.b64encode(payload).decode() if data is None else data
    scale = f"<LeadAmplitudeUnitsPerBit>{per_bit}</LeadAmplitudeUnitsPerBit>" if per_bit else ""
    unit = f"<LeadAmplitudeUnits>{units}</LeadAmplitudeUnits>" if units else ""
    return (
        f"<LeadData><LeadByteCountTotal>{len(payload)}</LeadByteCountTotal>"
        f"<LeadSampleCountTotal>{len(row) if count is None else count}</LeadSampleCountTotal>{scale}{unit}"
        f"<LeadHighLimit>32767</LeadHighLimit><LeadLowLimit>-32768</LeadLowLimit><LeadID>{name}</LeadID>"
        f"<LeadSampleSize>2</LeadSampleSize>{lead_fields}"
        f"<LeadDataCRC32>{zlib.crc32(payload) if crc is None else crc}</LeadDataCRC32>"
        f"<WaveFormData>\n{data}\n</WaveFormData></LeadData>"
    )


def muse_diagnosis(*statements, tag="Diagnosis"):
    """Return a diagnosis of pairs: text and flag."""
    lines = [
        f"<DiagnosisStatement><StmtFlag>{flag}</StmtFlag><StmtText>{text}</StmtText></DiagnosisStatement>"
        for text, flag in statements
    ]
    return f"<{tag}><Modality>RESTING</Modality>{''.join(lines)}</{tag}>"


# --- HL7 aECG --------------------------------------------------------------------------------------------------------

AECG_SUBJECT = (
    "<componentOf><timepointEvent><componentOf><subjectAssignment><subject><trialSubject><subjectDemographicPerson>"
    '<name>Roe</name><administrativeGenderCode code="F"/><birthTime value="19590508"/>'
    "</subjectDemographicPerson></trialSubject></subject></subjectAssignment></componentOf></timepointEvent></componentOf>"
)
AECG_AGE = (
    '<controlVariable><relatedObservation><code code="21612-7"/><value value="{}" unit="{}"/></relatedObservation>'
    "</controlVariable>"
)


def aecg(*series, before="", effective='<low value="20200704130509"/>', encoding="utf-8"):
    """Return an annotated ECG."""
    body = "".join(f"<component>{one}</component>" for one in series)
    return (
        f'<?xml version="1.0" encoding="{encoding}"?>\n<AnnotatedECG xmlns="urn:hl7-org:v3" '
        f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><effectiveTime>{effective}</effectiveTime>'
        f"{before}{body}</AnnotatedECG>"
    ).encode(encoding)


def aecg_series(*sets, code="RHYTHM", low="", beat="", annotations=""):
    """Return a series, with the sets of a representative beat derived from it."""
    began = f'<effectiveTime><low value="{low}"/></effectiveTime>' if low else ""
    derived = (
        f'<derivation><derivedSeries><code code="REPRESENTATIVE_BEAT"/>{beat}</derivedSeries></derivation>'
        if beat
        else ""
    )
    return f'<series><code code="{code}"/>{began}{"".join(sets)}{derived}{annotations}</series>'


def aecg_set(leads=LEADS, samples=1000, head="20200704130509.000", step=("0.01", "s"), relative=False, first=0, **lead):
    """Return a set of sequences over absolute or relative times."""
    code, begun = ("TIME_RELATIVE", f'value="{head}" unit="s"') if relative else ("TIME_ABSOLUTE", f'value="{head}"')
    if relative and head.startswith("2020"):
        begun = 'value="0" unit="s"'
    times = f'<value><head {begun}/><increment value="{step[0]}" unit="{step[1]}"/></value>'
    rows = counts(leads, samples, first)
    sequences = [f'<sequence><code code="{code}"/>{times}</sequence>']
    sequences += [aecg_lead(name, row, **lead) for name, row in zip(leads, rows, strict=True)]
    body = "".join(f"<component>{one}</component>" for one in sequences)
    return f"<component><sequenceSet>{body}</sequenceSet></component>"


def aecg_lead(name, row, scale=("5", "uV"), origin=("0", "uV"), digits=None):
    """Return the sequence of a lead."""
    written = " ".join(map(str, row)) if digits is None else digits
    scaled = f'<scale value="{scale[0]}" unit="{scale[1]}"/>' if scale else ""
    return (
        f'<sequence><code code="MDC_ECG_LEAD_{name.upper()}"/><value><origin value="{origin[0]}" unit="{origin[1]}"/>'
        f"{scaled}<digits>{written}</digits></value></sequence>"
    )


# --- Philips Sierra --------------------------------------------------------------------------------------------------

SIERRA_STATEMENT = (
    "<interpretations><interpretation><statement><leftstatement>Atrial-paced rhythm</leftstatement></statement>"
    "</interpretation></interpretations>"
)


def sierra(
    leads=LEADS, samples=1000, rate=100, step="5", packed=False, plain=False, version="1.04", kind="PhilipsECG",
    age="<years>61</years>", extra="", pace="Unknown", data=None, attributes="",
):  # fmt: skip
    """Return a Sierra file."""
    rows = counts(leads, samples)
    encoding = "Plain" if plain else "Base64"
    text = (
        " ".join(map(str, rows.ravel()))
        if plain
        else base64.b64encode(xli(rows) if packed else rows.tobytes()).decode()
    )
    resolution = f"<resolution>{step}</resolution>" if step and version != "1.03" else ""
    resolution += f"<signalresolution>{step}</signalresolution>" if step and version == "1.03" else ""
    return (
        f'<?xml version="1.0" encoding="utf-8"?><restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo>'
        f"<documenttype>{kind}</documenttype><documentversion>{version}</documentversion></documentinfo>"
        f'<dataacquisition date="2020-07-04" time="13:05:09"><signalcharacteristics><samplingrate>{rate}</samplingrate>'
        f"{resolution}<acquisitiontype>STD-12</acquisitiontype><bitspersample>16</bitspersample>"
        f"<numberchannelsallocated>{len(leads)}</numberchannelsallocated></signalcharacteristics></dataacquisition>"
        f'<patient><generalpatientdata><name><lastname>Roe</lastname></name><age defaultage="50">{age}</age>'
        f"<pacestatus>{pace}</pacestatus><sex>Female</sex></generalpatientdata></patient>{extra}<waveforms>"
        f'<parsedwaveforms dataencoding="{encoding}" {"compression" if packed else "x"}="XLI" '
        f'leadlabels="{" ".join(leads)}" durationperchannel="{samples * 1000 / rate:g}" {attributes}>'
        f"{text if data is None else data}</parsedwaveforms>"
        f"</waveforms></restingecgdata>"
    ).encode()


def xli(rows):
    """Return rows of standard leads packed by XLI: each lead a chunk of LZW codes that name single bytes."""
    i, ii, iii, avr, avl, avf = (row.astype(np.int64) for row in rows[:6])
    limbs = [i, ii, ii - i - iii, -avr - (i + ii) // 2, (i - iii) // 2 - avl, (ii + iii) // 2 - avf]
    return b"".join(map(xli_chunk, [*limbs, *rows[6:].astype(np.int64)]))


def xli_chunk(row):
    """Return one lead as a chunk."""
    codes, first = xli_differences(row)
    words = codes.astype(np.uint16)
    unpacked = np.concatenate([words >> 8, words & 255]).astype(np.uint8)
    bits = "".join(f"{byte:010b}" for byte in unpacked)
    packed = bytes(int(bits[place : place + 8].ljust(8, "0"), 2) for place in range(0, len(bits), 8))
    return len(packed).to_bytes(4, "little") + b"\0\0" + int(first).to_bytes(2, "little", signed=True) + packed


def xli_differences(row):
    """Return the codes of a row, and its start value: each value follows from the two before it and a correction."""
    codes = row.copy()
    corrections = 2 * row[1:-1] - row[:-2] - row[2:]
    codes[2:-1] = corrections[1:] + 64
    codes[-1] = 64
    return codes, corrections[0]

"""MIMIC-IV-ECG's files and tables, written here exactly as they are laid out: an archive in the making."""

import csv

from schemas.ecg_record import LEADS
from training.cohort.mimic import LABELS, MEASUREMENTS, RAW_MEASUREMENTS
from training.simulation.ecg import simulate_ecg
from training.simulation.physiology import draw_patient

MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
RELEASE = "mimic-iv-ecg-diagnostic-electrocardiogram-matched-subset-1.0"
LABEL_HEADER = (
    "file_name,study_id,subject_id,ecg_time,ed_stay_id,ed_hadm_id,hosp_hadm_id,ed_diag_ed,ed_diag_hosp,hosp_diag_hosp,"
    "all_diag_hosp,all_diag_all,gender,age,anchor_year,anchor_age,dod,ecg_no_within_stay,ecg_taken_in_ed,"
    "ecg_taken_in_hosp,ecg_taken_in_ed_or_hosp,fold,strat_fold"
)
REPORTS = ",".join(f"report_{line}" for line in range(18))
MACHINE_HEADER = (
    f"subject_id,study_id,cart_id,ecg_time,{REPORTS},bandwidth,filtering,rr_interval,p_onset,p_end,qrs_onset,qrs_end,"
    "t_end,p_axis,qrs_axis,t_axis"
)
LABEL_COLUMNS, MACHINE_COLUMNS = LABEL_HEADER.split(","), MACHINE_HEADER.split(",")
FOLDS = {"train": 3, "development": 18, "test": 19}


def steps(number=0):
    return simulate_ecg(draw_patient(5, number))


class Archive:
    """An archive in the making; `write` puts its tables beside its records."""

    def __init__(self, root):
        self.root, self.labels, self.machine = root, [], []
        (root / "files").mkdir(parents=True)

    def add(self, study, subject=10000032, *, digital=None, codes=(), fold="train", written=True, header=None, **cells):
        place = f"files/p{str(subject)[:4]}/p{subject}/s{study}/{study}"
        if written:
            write_record(self.root / place, steps() if digital is None else digital, header or subject)
        self.labels.append(
            dict.fromkeys(LABEL_COLUMNS, "")
            | {
                "file_name": f"{RELEASE}/{place}",
                "study_id": study,
                "subject_id": subject,
                "ecg_time": "2180-07-23 08:44:00",
                "all_diag_hosp": "[]",
                "all_diag_all": str(list(codes)),
                "gender": "F",
                "age": 63.0,
                "fold": FOLDS[fold],
                "strat_fold": FOLDS[fold],
            }
            | cells
        )
        return self

    def measure(self, study, reports=("Sinus rhythm",), **cells):
        lines = {f"report_{line}": text for line, text in enumerate(reports)}
        missing = dict.fromkeys((*RAW_MEASUREMENTS, "p_end"), 29999)
        self.machine.append(dict.fromkeys(MACHINE_COLUMNS, "") | {"study_id": study} | missing | lines | cells)
        return self

    def write(self):
        write_table(self.root / LABELS, LABEL_COLUMNS, self.labels)
        if self.machine:
            write_table(self.root / MEASUREMENTS, MACHINE_COLUMNS, self.machine)
        return self.root


def write_table(path, columns, rows):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)


def write_record(path, digital, subject):
    """Write format 16 with the header that MIMIC-IV-ECG has, aVF before aVL; `digital` is in the order of `LEADS`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{path.name}.dat 16 200.0(0)/mV 16 0 0 0 0 {lead}" for lead in MIMIC_LEADS]
    header = [f"{path.name} 12 500 {digital.shape[1]} 08:44:00 23/07/2180", *lines, f"# <subject_id>: {subject}", ""]
    path.with_suffix(".hea").write_text("\n".join(header))
    stored = digital[[LEADS.index(lead) for lead in MIMIC_LEADS]]
    path.with_suffix(".dat").write_bytes(stored.T.astype("<i2").tobytes())

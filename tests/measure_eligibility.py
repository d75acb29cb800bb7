"""Prints which real ECGs are assessable, and what is flagged with the rule of eligibility and without it.

`python tests/measure_eligibility.py`, on all ECGs of `../shared/data/ecg`.
"""

from collections import Counter
from pathlib import Path

from inference.file_account import ecgs_of, open_account
from inference.screen_files import Screened, screen_files
from inference.site_policy import REASONS
from schemas.messages import reasons_of
from stream.screening.model import load_screener
from stream.settings import ModelSettings

REAL_ECGS = Path(__file__).resolve().parents[2] / "shared" / "data" / "ecg"


def screened(settings):
    """Return the reports by file."""
    screener = load_screener(settings, max_batch=16)
    with open_account(None) as account:
        answers = list(screen_files(screener, ecgs_of([REAL_ECGS], account)))
    return {answer.source: answer.report for answer in answers if isinstance(answer, Screened)}


def flagged(report):
    """Return how many diseases are flagged."""
    return sum(risk.flagged for risk in report.risks)


def main():
    """Print the table."""
    with_rule = screened(ModelSettings(engine="onnxruntime"))
    without = screened(ModelSettings(engine="onnxruntime", screen_anyway=", ".join(REASONS)))
    counts = Counter()
    for source, report in with_rule.items():
        for reason in reasons_of(report.risks) or ("assessable",):
            counts[reason, "ECGs"] += 1
            counts[reason, "flagged without the rule"] += flagged(without[source]) > 0
            counts[reason, "diseases without the rule"] += flagged(without[source])
            counts[reason, "flagged with it"] += flagged(report) > 0
    columns = ("ECGs", "flagged without the rule", "diseases without the rule", "flagged with it")
    print(f"{len(with_rule)} ECGs", *columns, sep=" | ")
    for reason in ("assessable", *REASONS):
        if counts[reason, "ECGs"]:
            print(reason, *(counts[reason, column] for column in columns), sep=" | ")


if __name__ == "__main__":
    main()

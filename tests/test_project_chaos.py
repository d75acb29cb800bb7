"""The table of faults is made by a command; one short row of it is run here."""

import json
import re

import chaos
import chaos_faults
import pytest
from chaos_faults import FAULTS, TANSU
from chaos_load import Account


def row(fault, **changes):
    figures = {"sent": 9, "unconfirmed": 0, "lost": 0, "twice": 1, "contradictory": 0, "recovered_s": 1.5}
    waits = {"p50_ms": 20, "p99_ms": 90, "longest_s": 2.5}
    return {"fault": fault.name, "broker": fault.brokers[0], "notes": [], **figures, **waits, **changes}


@pytest.mark.servers
def test_a_clock_that_goes_back_loses_nothing_and_contradicts_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(chaos_faults, "HOLD_S", 1.0)
    fault = next(fault for fault in FAULTS if fault.name == "sender-clock")
    found = chaos.run_row(fault, TANSU, tmp_path, around_s=(0.5, 0.5))
    print(json.dumps(found))
    assert chaos.is_sound(found)
    assert found["sent"] >= chaos.WARM
    assert found["unconfirmed"] == 0


def test_a_row_that_lost_something_or_contradicts_itself_is_not_sound():
    fault = FAULTS[0]
    assert chaos.is_sound(row(fault))
    for worse in ({"lost": 1}, {"contradictory": 1}, {"notes": ["3 not shown"]}):
        assert not chaos.is_sound(row(fault, **worse))


def test_a_row_takes_the_place_of_its_older_one_and_the_others_stay(tmp_path):
    page, (first, second) = tmp_path / "page.md", FAULTS[:2]
    page.write_text(f"before\n\n{chaos.BEGIN}\n{chaos.END}\n\nafter\n", encoding="utf-8")
    chaos.write_table(page, [row(second), row(first)])
    chaos.write_table(page, [row(second, sent=77)])
    text = page.read_text(encoding="utf-8")
    lines = [chaos.cells_of(line) for line in text.splitlines() if line.startswith("| ")][1:]
    assert [(cells[0], cells[2]) for cells in lines] == [(first.title, "9"), (second.title, "77")]
    assert re.match(r"before\n\n<!--", text)
    assert text.endswith("-->\n\nafter\n")


def test_the_account_counts_what_is_lost_said_twice_and_contradictory(monkeypatch):
    account = Account()
    told = iter([("a", "1"), ("a", "1"), ("b", "2"), ("b", "3"), ("b", "3")])
    monkeypatch.setattr("chaos_load.answer_of", lambda topic, value: next(told))
    for number, name in enumerate("abc"):
        account.due[name] = float(number)
        account.confirmed.add(name)
    for offset in (0, 1, 2, 3, 3, 4):  # one of them the reader was given again
        account.take("t", Place(offset))
    figures = account.figures(0.0)
    assert (figures.sent, figures.lost, figures.twice, figures.contradictory) == (3, 1, 2, 1)


class Place:
    """A message, as far as the account looks."""

    topic, partition, value = "t", 0, b""

    def __init__(self, offset):
        self.offset = offset

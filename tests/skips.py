"""A pytest plugin: the last lines of a run say which tests were skipped, why, and what brings what they need.

A reason reads "needs WHAT: HOW TO BRING IT"; what stands after the colon is told as the thing to do.
"""

from collections import Counter

import pytest

TITLE = "NOT EVERYTHING WAS TESTED"


def skipped_reasons(reports):
    """Return how many tests were skipped for each reason."""
    return Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports)


def lines_of(reasons):
    """Return what to tell about skipped tests; nothing where there are none."""
    if not reasons:
        return []
    lines = [f"{TITLE}: {sum(reasons.values())} tests were skipped."]
    for reason, count in sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])):
        why, _, remedy = reason.partition(": ")
        lines.append(f"  {count:4d} {why}")
        if remedy:
            lines.append(f"       to run them: {remedy}")
    return lines


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    """Tell it after pytest has told its own summary; with pytest-xdist, once, for all processes."""
    result = yield
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(session.config, "workerinput"):
        for line in lines_of(skipped_reasons(terminal.stats.get("skipped", ()))):
            terminal.write_line(line, yellow=True, bold=True)
    return result

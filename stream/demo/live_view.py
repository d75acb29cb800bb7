"""The terminal screen of the demonstration: counts, latency, the latest risks."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from schemas.messages import DISEASES, NOTICE, RiskReport
from schemas.shown_text import shown_id
from stream.risk_table import HEADINGS, LEGEND, risk_cells, weights_note

from .account import DemoAccount


def render_account(account: DemoAccount) -> RenderableType:
    """Return the screen: the counts on top, the latest answers below."""
    return Group(_counts(account), _latest(account), Text(_footnote(account), style="dim"))


def _counts(account: DemoAccount) -> RenderableType:
    outcome = account.outcome()
    grid = Table.grid(padding=(0, 3))
    latency = outcome.latency_ms
    milliseconds = f"{latency.p50:.0f} / {latency.p95:.0f} / {latency.p99:.0f} ms" if latency else "–"
    grid.add_row("published", str(outcome.published), "reports", str(outcome.reports), "alerts", str(outcome.alerts))
    grid.add_row(
        "rate", f"{outcome.records_per_s:.1f}/s", "rejected", str(outcome.rejected), "waiting", str(outcome.lost)
    )
    grid.add_row("latency p50 / p95 / p99", milliseconds, "cines", str(outcome.cines))
    return Panel(grid, title="CardiacNets", subtitle="Ctrl-C ends the demonstration", expand=False)


def _latest(account: DemoAccount) -> RenderableType:
    table = Table(box=None, padding=(0, 2))
    table.add_column("record", no_wrap=True, max_width=28)
    for disease in DISEASES:
        table.add_column(HEADINGS[disease], justify="right", no_wrap=True)
    table.add_column("warnings", no_wrap=True, max_width=40)
    for answer in reversed(account.recent):
        if isinstance(answer, RiskReport):
            warnings = ", ".join(warning.code for warning in answer.quality.warnings)
            table.add_row(Text(shown_id(answer.record_id)), *risk_cells(answer), Text(warnings))
        else:
            table.add_row(Text(shown_id(answer.record_id or "?")), Text(f"rejected: {answer.code}", style="yellow"))
    return table


def _footnote(account: DemoAccount) -> str:
    reports = [answer for answer in account.recent if isinstance(answer, RiskReport)]
    return f"{LEGEND}. {weights_note(reports[-1].model) if reports else ''}{NOTICE}"

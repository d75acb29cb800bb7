"""The realism table in Markdown, and its plots: simulated patients beside real ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engines.whole_file import write_whole
from inference.geometry import RECORDED_RATE_HZ
from schemas.ecg_record import LEADS
from training.arrays import Floats
from training.instruments.ecg_measurements import CLASSIC_MEASUREMENTS

from .four_chamber import draw_four_chamber
from .heart import build_heart
from .realism import DATA_SETS, EcgComparison, HeartComparison, RealEcgs, Realism, SimulatedPatients, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIMULATED_COLOUR, REAL_COLOUR = "#d1495b", "#30638e"
PLOTTED_WAVES = ("r", "s", "t", "p")
PLOTTED_INTERVALS = (
    "heart_rate_bpm",
    "rr_sd_ms",
    "pr_ms",
    "p_ms",
    "qrs_ms",
    "qtc_ms",
    "p_axis_deg",
    "qrs_axis_deg",
    "t_axis_deg",
    "sokolow_lyon_mv",
    "cornell_mv",
    "p_terminal_force_v1_mv_ms",
)
SHOWN = 8
"""ECGs, and cines, that are drawn of each kind."""
_INTRODUCTION = """# How real the simulated patients are

A measurement *agrees* where the means differ by less than half a standard deviation and the standard deviations by
a factor of 0.6 to 1.7, or where both differ by less than one sees on paper (0.01 mV, 4 ms, 5°).

- Healthy simulated patients against normal real ECGs: {0}.
- All simulated patients against all real ECGs: {1}.
- Hearts of healthy simulated patients against published values: {2}.

What this cannot say: the normal real records are few, their patients are {4} years old (median, 5-95 %), the simulated
{3}; they were chosen by how the ECG looks, the simulated by how the patient is. LUDB and PTB-XL differ from each other
too (LUDB's chest leads are about half as tall); a column says by how much. All-comers differ in their diseases: LUDB is
rich in hypertrophy. The real records trained nothing.
"""
_GAPS = """Not compared, because no published values could be looked up that are measured in the same way: the atria,
the aorta, single segments, and men's ventricular volumes in the UK Biobank (those of another healthy cohort stand in).
Strains depend on the tracking software by several points.
"""
_PAPER_ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
_ROW_MV, _COLUMN_S = 2.5, 2.5


def write_report(
    folder: Path,
    realism: Realism,
    simulated: SimulatedPatients,
    real: RealEcgs,
    *,
    cines: NDArray[np.uint8],
    real_cine: NDArray[np.uint16] | None,
) -> list[Path]:
    """Write `realism.md` and its plots into the folder; return their paths.

    Args:
        cines: (n, phases, height, width), of simulated patients.
        real_cine: (phases, height, width).
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in ("realism.md", "amplitudes.png", "intervals.png", "ecgs.png", "cines.png")]
    write_whole(files[0], render_markdown(realism).encode())
    plot_amplitudes(files[1], simulated.measured[simulated.healthy], real.measured[real.normal])
    plot_intervals(files[2], simulated.measured[simulated.healthy], real.measured[real.normal])
    plot_ecgs(files[3], simulated.signals_mv[simulated.healthy], _mixed(real))
    plot_cines(files[4], cines, real_cine)
    return files


def _mixed(real: RealEcgs) -> NDArray[np.float32]:
    """Return normal ECGs of the data sets in turn."""
    normal = [np.flatnonzero(real.normal & (real.data_sets == data_set)) for data_set in DATA_SETS]
    rows = [row for pair in zip_longest(*normal) for row in pair if row is not None]
    return real.signals_mv[rows[:SHOWN]]


def render_markdown(realism: Realism) -> str:
    """Return the report's text."""
    counts = [_count(part) for part in (realism.healthy, realism.everybody, realism.hearts)]
    ages = [
        f"{spread.median:.0f} ({spread.low:.0f}-{spread.high:.0f})"
        for spread in (realism.healthy_ages, realism.normal_ages)
    ]
    return "\n".join(
        (
            _INTRODUCTION.format(*counts, *ages),
            "## Healthy simulated patients against normal real ECGs\n",
            *_ecg_table(realism.healthy),
            "\n## All simulated patients against all real ECGs\n",
            *_ecg_table(realism.everybody),
            "\n## Hearts of healthy simulated patients against published values\n",
            *_heart_table(realism.hearts),
            "\n" + _GAPS,
        )
    )


def _count(comparisons: Sequence[EcgComparison] | Sequence[HeartComparison]) -> str:
    kinds = Counter(comparison.verdict.split()[0] for comparison in comparisons)
    return f"{kinds['agrees']} of {len(comparisons)} agree"


def _ecg_table(comparisons: Iterable[EcgComparison]) -> Iterator[str]:
    yield (
        "| measurement | simulated: median (5-95 %) | real: median (5-95 %) | n | difference (SD) | KS "
        f"| median of {', '.join(DATA_SETS)} | {' - '.join(DATA_SETS)} (SD) | verdict |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for each in comparisons:
        medians = ", ".join(_number(median) for median in each.real_medians.values())
        between = "" if each.between_data_sets is None else f"{each.between_data_sets:+.2f}"
        yield (
            f"| {each.measurement} | {_range(each.simulated)} | {_range(each.real)} "
            f"| {each.simulated.n}, {each.real.n} | {each.difference:+.2f} | {each.ks:.2f} "
            f"| {medians} | {between} | {each.verdict} |"
        )


def _range(spread: Spread) -> str:
    return f"{_number(spread.median)} ({_number(spread.low)} to {_number(spread.high)})"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"


def _heart_table(comparisons: Iterable[HeartComparison]) -> Iterator[str]:
    yield "| measurement | sex | n | simulated: mean ± SD | published: mean ± SD | difference (SD) | verdict | source |"
    yield "|---|---|---|---|---|---|---|---|"
    for each in comparisons:
        yield (
            f"| {each.measurement} ({each.unit}) | {each.sex} | {each.n} | {each.mean:.1f} ± {each.sd:.1f} "
            f"| {each.published_mean:.1f} ± {each.published_sd:.1f} | {each.difference:+.2f} "
            f"| {each.verdict} | {each.source} |"
        )


def plot_amplitudes(path: Path, simulated: Floats, real: Floats) -> None:
    """Draw box plots of R, S, T and P by lead; both (n, k) classic measurements."""
    figure = _figure(14, 10)
    for number, wave in enumerate(PLOTTED_WAVES):
        axes = figure.add_subplot(2, 2, number + 1)
        names = [f"{wave}_{lead}_mv" for lead in LEADS]
        _boxes(axes, [_known(simulated, name) for name in names], [_known(real, name) for name in names])
        axes.set_xticks(range(len(LEADS)), LEADS)
        axes.set_title(f"{wave.upper()} amplitude (mV){', a depth' if wave == 's' else ''}")
        axes.axhline(0, color="grey", linewidth=0.5)
    _save(figure, path, "Healthy simulated (red) and normal real ECGs (blue)")


def plot_intervals(path: Path, simulated: Floats, real: Floats) -> None:
    """Draw histograms of intervals, axes and voltages; both (n, k) classic measurements."""
    figure = _figure(14, 9)
    for number, name in enumerate(PLOTTED_INTERVALS):
        axes = figure.add_subplot(3, 4, number + 1)
        ours, theirs = _known(simulated, name), _known(real, name)
        together = np.concatenate([ours, theirs])
        if not len(together):
            continue
        lowest, highest = np.percentile(together, (0.5, 99.5))
        for values, colour in ((ours, SIMULATED_COLOUR), (theirs, REAL_COLOUR)):
            axes.hist(values, bins=22, range=(lowest, highest), density=True, color=colour, alpha=0.5)
        axes.set_title(name)
        axes.set_yticks([])
    _save(figure, path, "Healthy simulated (red) and normal real ECGs (blue)")


def _known(measured: Floats, name: str) -> Floats:
    column = measured[:, CLASSIC_MEASUREMENTS.index(name)]
    return column[np.isfinite(column)]


def _boxes(axes: Axes, simulated: Sequence[Floats], real: Sequence[Floats]) -> None:
    for groups, shift, colour in ((simulated, -0.2, SIMULATED_COLOUR), (real, 0.2, REAL_COLOUR)):
        axes.boxplot(
            groups,
            positions=[number + shift for number in range(len(groups))],
            widths=0.32,
            whis=(5, 95),
            showfliers=False,
            patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.6},
            medianprops={"color": "black"},
            manage_ticks=False,
        )


def plot_ecgs(path: Path, simulated_mv: NDArray[np.float32], real_mv: NDArray[np.float32]) -> None:
    """Draw `SHOWN` simulated ECGs (n, 12, 5000) on the left beside as many real ones, on paper: 25 mm/s, 10 mm/mV."""
    figure = _figure(22, 4.6 * SHOWN)
    for row in range(SHOWN):
        for column, (signals, kind) in enumerate(((simulated_mv, "simulated"), (real_mv, "real"))):
            if row < len(signals):
                axes = figure.add_subplot(SHOWN, 2, 2 * row + column + 1)
                _draw_paper(axes, signals[row])
                axes.set_title(f"{kind} {row + 1}", fontsize=10)
    _save(figure, path, None)


def _draw_paper(axes: Axes, signals_mv: NDArray[np.float32]) -> None:
    """Draw 12 leads of 2.5 s in three rows of four, and lead II for 10 s."""
    height = _ROW_MV * (len(_PAPER_ROWS) + 1)
    _draw_grid(axes, 4 * _COLUMN_S, height)
    samples = int(_COLUMN_S * RECORDED_RATE_HZ)
    for row, leads in enumerate(_PAPER_ROWS):
        for column, lead in enumerate(leads):
            part = slice(column * samples, (column + 1) * samples)
            _draw_trace(
                axes, signals_mv[LEADS.index(lead), part], column * _COLUMN_S, height - _ROW_MV * (row + 0.5), lead
            )
    _draw_trace(axes, signals_mv[LEADS.index("II")], 0, 0.5 * _ROW_MV, "II")


def _draw_grid(axes: Axes, width_s: float, height_mv: float) -> None:
    axes.set(xlim=(0, width_s), ylim=(0, height_mv), aspect=0.4)  # 0.4 s are as wide as 1 mV is high
    for step_s, step_mv, width in ((0.04, 0.1, 0.25), (0.2, 0.5, 0.7)):
        axes.vlines(np.arange(0, width_s, step_s), 0, height_mv, color="#f0b6b6", linewidth=width)
        axes.hlines(np.arange(0, height_mv, step_mv), 0, width_s, color="#f0b6b6", linewidth=width)
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_trace(axes: Axes, trace_mv: NDArray[np.float32], start_s: float, level_mv: float, lead: str) -> None:
    time = start_s + np.arange(len(trace_mv)) / RECORDED_RATE_HZ
    axes.plot(time, level_mv + trace_mv - np.nanmedian(trace_mv), color="black", linewidth=0.6)
    axes.text(start_s + 0.05, level_mv + 0.75, lead, fontsize=8)


def draw_cines(simulated: SimulatedPatients) -> NDArray[np.uint8]:
    """Return the four-chamber cines (n, 50, 96, 96) of the first `SHOWN` patients."""
    return np.stack([draw_four_chamber(build_heart(patient)) for patient in simulated.patients[:SHOWN]])


def plot_cines(path: Path, simulated: NDArray[np.uint8], real: NDArray[np.uint16] | None) -> None:
    """Draw cines at end-diastole and near end-systole: (n, phases, height, width); the real one last."""
    cines = [*simulated[:SHOWN], *([] if real is None else [real])]
    names = [f"simulated {number + 1}" for number in range(len(simulated[:SHOWN]))] + ["real"]
    figure = _figure(2.2 * len(cines), 4.8)
    for column, cine in enumerate(cines):
        for row, (phase, moment) in enumerate(((0, "end-diastole"), (round(0.36 * len(cine)), "end-systole"))):
            axes = figure.add_subplot(2, len(cines), row * len(cines) + column + 1)
            axes.imshow(cine[phase], cmap="gray", vmin=0, vmax=np.percentile(cine, 99.5))
            axes.set_title(f"{names[column]}, {moment}", fontsize=7)
            axes.set_axis_off()
    _save(figure, path, None)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="tight")


def _save(figure: Figure, path: Path, title: str | None) -> None:
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=80)

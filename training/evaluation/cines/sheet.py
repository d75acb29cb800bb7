"""The contact sheet: twelve patients, the true cine beside the drawn one, at end diastole and at end systole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .similarity import Cines

PATIENTS, PAIRS_A_ROW = 12, 3
HEADINGS = ("true, ED", "true, ES", "drawn, ED", "drawn, ES")
INCHES = 1.1
"""Of a picture's edge."""


def write_sheet(path: Path, true: Cines, drawn: Cines, systole: NDArray[np.intp]) -> None:
    """Write the sheet as a PNG.

    Args:
        path: of the file; its folder is created if need be.
        true, drawn: (n, frames, rows, columns) of the same patients, of whom the first twelve are shown: nobody chose.
        systole: (n,) the frame of end systole, in which both are shown.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = min(PATIENTS, len(true))
    rows, columns = -(-shown // PAIRS_A_ROW), PAIRS_A_ROW * len(HEADINGS)
    figure = Figure(figsize=(columns * INCHES, rows * INCHES + 0.4), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for number in range(shown):
        row, first = divmod(number, PAIRS_A_ROW)
        frames = (0, systole[number])
        pictures = [cines[number, frame] for cines in (true, drawn) for frame in frames]
        for place, picture in enumerate(pictures, first * len(HEADINGS)):
            grid[row, place].imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    for place, axes in enumerate(grid[0]):
        axes.set_title(HEADINGS[place % len(HEADINGS)], color="white", fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)

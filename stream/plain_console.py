"""A console of Rich that draws colours and tables of its own, and no control character of a text; see `plain_text.py`.

It is a module of its own, for Rich is imported where a command needs it.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from .plain_text import shown


class PlainConsole(Console):
    """Draws tables and texts."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of what is drawn. Those of Rich's own control stay, and all others are plain."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else _plain(segment)


def _plain(segment: Segment) -> Segment:
    """Return a segment of plain text. A link of Rich's markup would be a control character too."""
    text, style, control = segment
    return Segment(shown(text), style.update_link(None) if style and style.link else style, control)

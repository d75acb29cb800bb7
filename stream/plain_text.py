"""Text for a terminal. What others wrote in it, such as a file's name, cannot move the cursor or turn the text around.

All that the command line prints for a person goes through here, or through `plain_console.py`.
"""

from __future__ import annotations

import sys

from schemas.shown_text import shown_text

CODE = "⟨"
"""Begins the code of a character that nobody could see. Ids among the text are coded already."""


def shown(text: str) -> str:
    """Return a text of one or more lines, with its code for each character that would not be drawn."""
    if text.isascii() and text.isprintable():
        return text
    return CODE.join(map(shown_text, text.split(CODE)))


def shown_in_line(text: str) -> str:
    """Return a text for one line: its line breaks are codes too."""
    return "⟨U+000A⟩".join(map(shown, text.split("\n")))


def print_plain(*texts: str, to_stderr: bool = False) -> None:
    """Print each text on lines of its own."""
    for text in texts:
        print(shown(text), file=sys.stderr if to_stderr else sys.stdout, flush=True)

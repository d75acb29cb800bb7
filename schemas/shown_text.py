"""Text from outside as it is shown, on a page, in a terminal or in FHIR: what nobody could see stands as a code.

An id may hold any character. Some characters are invisible, some turn the direction of the text around them, and some
are commands to a terminal. They are shown as their codes, such as ⟨U+202E⟩. The sign ⟨ is shown as a code too, so two
ids that differ never look alike for that. `stream/dashboard/static/dom.js` does the same in the browser.
"""

from __future__ import annotations

import re
import unicodedata

UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode: controls, formats (directions, joiners, zero width), half characters, separators of lines."""
BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U0001d159\U000e0100-\U000e01ef"
"""Letters, marks and signs of other categories that draw nothing."""
OF_A_TEXT = "\n\t\u200c\u200d"
"""What a text of several words may hold: a new line, a tab, and what joins letters or keeps them apart."""

_SUSPECT = re.compile(f"[⟨{BLANK}]")


def shown_id(text: str) -> str:
    """Return an id as it is shown."""
    if text.isprintable() and not _SUSPECT.search(text):
        return text
    return "".join(map(_shown, text))


def shown_text(text: str) -> str:
    """Return a text as it is shown; it may have lines, and scripts whose letters are joined."""
    return "".join(one if one in OF_A_TEXT else shown_id(one) for one in re.split(f"([{OF_A_TEXT}])", text))


def _shown(character: str) -> str:
    unseen = unicodedata.category(character) in UNSEEN or _SUSPECT.match(character)
    return f"⟨U+{ord(character):04X}⟩" if unseen else character

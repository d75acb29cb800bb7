"""Whether words say that a heart is paced: 'ventricular pacing' says so, 'not paced' and 'pacemaker: no' deny it.

English words, and the SNOMED CT codes of paced rhythms. A 'wandering atrial pacemaker' is the heart's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

MAX_STATEMENTS, MAX_STATEMENT = 500, 500
REACH = 120
"""A denial stands within so many characters of what it denies. It bounds the time that a long text takes."""

_CODES = re.compile(r"\b(?:10370003|251266004|251268003|441509002)\b")
"""SNOMED CT: pacing rhythm, ventricular pacing, atrial pacing, pacemaker in place."""
_CLAUSE_END = re.compile(r"[.;,\n]|\bbut\b", re.IGNORECASE)
_DEVICE = (
    r"(?:implanted|permanent|temporary|artificial|electronic|dual[ -]chamber|single[ -]chamber|demand|ddd|vvi|aai)"
)
_FIELD = re.compile(
    r"\b(?P<key>pace|paced|pacing|pacemaker|pacer)\b"
    r"(?:\s+(?:rhythm|present|implanted|in situ|detected|status|spikes?))?"
    r"[\"'>\])?]*\s*[:=]+\s*[\"'<(]*(?P<value>[^\s\"'>)}\]]*)",
    re.IGNORECASE,
)
_NO = frozenset(
    {"no", "n", "none", "nil", "0", "0.0", "false", "f", "absent", "negative", "never", "not", "without", "-"}
)
_YES = re.compile(rf"(?:yes|y|1|1\.0|true|t|present|positive|implanted|{_DEVICE}|[adov]{{3}}r?|ventric\w*|atri\w*)")
_MENTION = re.compile(
    r"\b(?:(?P<denied>un-?paced|non-?paced)|paced|pacing"
    r"|pacemaker\s+(?:rhythm|spikes?|beats?|in situ|present|implanted|implantation|dependen\w+)"
    rf"|(?:{_DEVICE}|(?:has|with|without|no)(?:\s+an?|\s+any)?)(?:\s+(?:cardiac|ventricular|atrial))?\s+pacemaker)\b"
    r"|^\W*(?:cardiac\s+)?pacemaker\W*$",
    re.IGNORECASE,
)
# No word below may fit two alternatives: a row of n such words would be tried in 2**n ways.
_DENIAL_BEFORE = re.compile(
    r"(?:n't|\b(?:no|not|non|without|w/o|never|denies|absent|absence of|lack of|free of|negative for|neither|nor))"
    r"[\s-]+"
    r"(?:(?:an?|any|the|being|longer|currently|yet|evidence|signs?|indication|history|of|for|known|visible|apparent"
    r"|obvious|atrial|ventricular|atrially|ventricularly|atrioventricular|biventricular|av|unipolar|bipolar|sequential"
    rf"|intermittent|intermittently|cardiac|or|and|v|{_DEVICE})[\s-]+)*$",
    re.IGNORECASE,
)
_DENIAL_AFTER = re.compile(
    r"\s*(?:rhythm|spikes?|artefacts?|artifacts?|beats?|activity)?\s*(?:is|are|was|were|has been|have been)?\s*"
    r"(?:not\b(?!\s+(?:followed|captur|conduct|sens))|absent|none|negative|excluded|ruled out|removed|explanted)",
    re.IGNORECASE,
)
_UNKNOWN_AFTER = re.compile(r"\s*(?:status\s*)?(?:is\s*)?(?:unknown|undetermined)\b", re.IGNORECASE)
_NATURAL = re.compile(
    r"\b(?:wandering|ectopic|shifting|junctional|multifocal)\b[^.;,\n]{0,30}?\bpacemaker(?:\s+rhythm)?\b", re.IGNORECASE
)
"""A pacemaker of the heart's own, at another place than the sinus node."""
_OWN_DENIAL = re.compile(r"(?:without|no)\b", re.IGNORECASE)


def paced_in_words(text: str) -> bool | None:
    """Return whether a text says that a heart is paced; None if it says nothing of that.

    Where one passage says so and another one denies it, the heart is taken for paced.
    """
    if _CODES.search(text):
        return True
    said = [answer for clause in _CLAUSE_END.split(_NATURAL.sub(" ", text)) for answer in _answers(clause)]
    return any(said) if said else None


def paced_in_statements(statements: Iterable[str]) -> bool | None:
    """Return whether the statements of an interpretation say that a heart is paced."""
    return paced_in_words("\n".join(statement[:MAX_STATEMENT] for statement in islice(statements, MAX_STATEMENTS)))


def _answers(clause: str) -> Iterator[bool]:
    """Yield True for each passage that says 'paced', and False for each one that denies it."""
    field = _FIELD.search(clause)
    if field and field["value"]:
        answer = _answer_of_field(field["value"].lower())
        if answer is not None:
            yield answer
        return
    for mention in _MENTION.finditer(clause):
        before = clause[max(0, mention.start() - REACH) : mention.start()]
        after = clause[mention.end() : mention.end() + REACH]
        if _UNKNOWN_AFTER.match(after):
            continue
        denied = mention["denied"] or _OWN_DENIAL.match(mention[0]) or _DENIAL_BEFORE.search(before)
        yield not (denied or _DENIAL_AFTER.match(after))


def _answer_of_field(value: str) -> bool | None:
    if value in _NO:
        return False
    return True if _YES.fullmatch(value) else None

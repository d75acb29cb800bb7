"""XML, parsed safely: in any encoding that ECG files have, within bounds, without entities and outside references."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from schemas.errors import UnreadableFile

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_XML_BYTES = 16 * 2**20
"""The largest export of an ECG at rest has 2 MiB; a parser makes many times as much of it."""
MAX_ELEMENTS = 400_000
MAX_ATTRIBUTES = 1_000_000
MAX_DEPTH = 100
MAX_NUMBER_CHARACTERS = 40
MAX_LABEL_CHARACTERS = 64

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
UNMARKED = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
ENCODINGS = re.compile(
    r"utf-?8|(?:us-)?ascii|(?:iso-?)?8859-?\d{1,2}|latin-?[1-9]|(?:windows|cp)-?\d{3,4}|gb(?:2312|k|18030)|big5(?:-hkscs)?"
    r"|shift[-_]?jis|euc-?(?:jp|kr|cn)|koi8-[ru]|iso-8859-\d{1,2}|ks_c_5601-1987|macroman|macintosh"
)
"""Encodings of which the first 128 characters are ASCII, and that a file may name."""

_DECLARATION = re.compile(r"<\?xml\b[^>]*\?>")
_DECLARED = re.compile(rb"""\s*<\?xml\b[^>]*?\bencoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']""")
_PROLOG = re.compile(r"<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[[^\]]*\]\s*)?>|\s+", re.DOTALL)
_NAME = re.compile(r"<(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d{1,2}|\d{4,})", re.ASCII)


def root_of(head: bytes) -> str:
    """Return the name of the root element of a content by its first bytes, in lower case; empty if it is not XML."""
    text = _text_of(head).lstrip("\ufeff")
    place = 0
    while skipped := _PROLOG.match(text, place):
        place = skipped.end()
    found = _NAME.match(text, place)
    return found[1].lower() if found else ""


def parse_xml(content: bytes, path: Path, taken_for: str) -> Element:
    """Return the root element. All names of elements are in lower case and without namespaces, those of attributes too.

    Raises:
        UnreadableFile: the content is not XML, is too large, or declares entities, which could be an attack.
    """
    begun = f"{path} was taken for {taken_for}"
    if len(content) > MAX_XML_BYTES:
        raise UnreadableFile(f"{begun}, but has more than {MAX_XML_BYTES >> 20} MiB: not a 12-lead ECG at rest")
    if content.count(b"<") > 2 * MAX_ELEMENTS or content.count(b"=") > MAX_ATTRIBUTES:
        most = f"{MAX_ELEMENTS:,} elements, or than {MAX_ATTRIBUTES:,} attributes"
        raise UnreadableFile(f"{begun}, but has more than {most}: not a 12-lead ECG at rest")
    text = _text_of(content).lstrip("\ufeff").strip()
    if declaration := _DECLARATION.match(text):
        text = text[declaration.end() :].lstrip()
    try:
        root: Element = fromstring(text)
    except ParseError as error:
        line = error.position[0]
        sentence = f"{begun}, but is not whole XML (line {line}): copy the file again, or export it again"
        raise UnreadableFile(sentence) from error
    except DefusedXmlException as error:
        sentence = f"{begun}, but declares XML entities, which no ECG needs and which may be an attack: export it again"
        raise UnreadableFile(sentence) from error
    _simplify(root, begun)
    return root


def text_of(element: Element | None, path: str = ".") -> str:
    """Return the text of an element below another one; empty where there is none."""
    found = element.find(path) if element is not None else None
    return "".join(found.itertext()).strip() if found is not None else ""


def attribute_of(element: Element | None, name: str, path: str = ".") -> str:
    """Return an attribute of an element below another one; empty where there is none."""
    found = element.find(path) if element is not None else None
    return (found.get(name) or "").strip() if found is not None else ""


def label_of(element: Element | None, path: str = ".") -> str:
    """Return a text that errors may repeat: in one line, and not long."""
    return in_one_line(text_of(element, path))


def in_one_line(text: str) -> str:
    """Return a text for a line of an error: without breaks and other control characters, and not long."""
    plain = " ".join(text[: 2 * MAX_LABEL_CHARACTERS].split())
    return "".join(letter if letter.isprintable() else "?" for letter in plain[:MAX_LABEL_CHARACTERS])


def number_in(text: str) -> float | None:
    """Return the number that a text is; a decimal comma is understood, unless it may part thousands."""
    plain = text.strip()
    if len(plain) > MAX_NUMBER_CHARACTERS:
        return None
    if comma := _DECIMAL_COMMA.fullmatch(plain):
        plain = f"{comma[1]}.{comma[2]}"
    if not _NUMBER.fullmatch(plain):
        return None
    number = float(plain)
    return number if math.isfinite(number) else None


def _text_of(content: bytes) -> str:
    """Return the content as text. What its encoding does not know is replaced: numbers and Base64 are ASCII."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, errors="replace")
    if encoding := UNMARKED.get(content[:2], ""):
        return content.decode(encoding, errors="replace")
    declared = _DECLARED.match(content[:512])
    name = declared[1].decode("ascii").lower() if declared else "utf-8"
    return content.decode(name if ENCODINGS.fullmatch(name) and _is_known(name) else "utf-8", errors="replace")


def _is_known(encoding: str) -> bool:
    try:
        codecs.lookup(encoding)
    except LookupError:
        return False
    return True


def _simplify(root: Element, begun: str) -> None:
    for element, depth in _walk(root):
        if depth > MAX_DEPTH:
            raise UnreadableFile(f"{begun}, but its elements lie more than {MAX_DEPTH} deep: export it again")
        element.tag = _plain(element.tag)
        if element.attrib:
            element.attrib = {_plain(name): value for name, value in element.attrib.items()}


def _walk(root: Element) -> Iterator[tuple[Element, int]]:
    below = [(root, 0)]
    while below:
        element, depth = below.pop()
        yield element, depth
        below.extend((child, depth + 1) for child in element)


def _plain(name: str) -> str:
    return name.rpartition("}")[2].lower()

"""Ids may hold any character, and are shown so that a person sees what they hold."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.shown_text import UNSEEN, shown_id, shown_text

EVERY_CHARACTER = [chr(code) for code in range(sys.maxunicode + 1)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("P-1", "P-1"),
        ("Ä ö é 東京 ☃ 😀", "Ä ö é 東京 ☃ 😀"),
        ("P-1\u202e2-P", "P-1⟨U+202E⟩2-P"),
        ("\u200b", "⟨U+200B⟩"),
        ("\ufeffP-1", "⟨U+FEFF⟩P-1"),
        ("a\0b\x1b[31m\r\n\t", "a⟨U+0000⟩b⟨U+001B⟩[31m⟨U+000D⟩⟨U+000A⟩⟨U+0009⟩"),
        ("a\u2028b\u2029", "a⟨U+2028⟩b⟨U+2029⟩"),
        ("\u3164\u034f\u2800\ufe0f\U000e0101", "⟨U+3164⟩⟨U+034F⟩⟨U+2800⟩⟨U+FE0F⟩⟨U+E0101⟩"),
        ("⟨U+202E⟩", "⟨U+27E8⟩U+202E⟩"),
    ],
)
def test_what_nobody_could_see_in_an_id_stands_as_its_code(text, shown):
    assert shown_id(text) == shown


def test_no_character_of_an_unseen_category_is_shown_as_it_is():
    unseen = [one for one in EVERY_CHARACTER if unicodedata.category(one) in UNSEEN]
    assert len(unseen) > 2000
    assert all(shown_id(one) == f"⟨U+{ord(one):04X}⟩" for one in unseen)


@given(st.text(max_size=40), st.text(max_size=40))
def test_two_ids_that_differ_are_shown_differently(one, other):
    assert (shown_id(one) == shown_id(other)) == (one == other)
    assert shown_id(one).isprintable() or any(unicodedata.category(each) in {"Cn", "Co", "Zs"} for each in one)


def test_a_text_may_have_lines_and_joined_letters():
    text = "Erste Zeile\nzweite\tZeile, نمی\u200cخواهم 👩\u200d⚕"
    assert shown_text(text) == text
    assert shown_text("a\rb\u202ec") == "a⟨U+000D⟩b⟨U+202E⟩c"

"""Nothing from an agent can do anything to a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdeck.terminal_text import clean, escaped


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\tb", "a b"),
        ("a\r\nb\nc", "a b c"),
        ("a\rb", "ab"),
        ("a\x9b2Jb", "ab"),
        ("x\u202ey\u2066z", "xyz"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("bell\x07 del\x7f", "bell del"),
        ("Grüße 漢字 🚀", "Grüße 漢字 🚀"),
        ("\ud800lone", "lone"),
        ("\x1b", ""),
    ],
)
def test_cleaned(raw: str, shown: str) -> None:
    assert clean(raw) == shown


def test_newlines_are_kept_where_wanted() -> None:
    assert clean("a\r\nb\x1b[2J\nc", lines=True) == "a\nb\nc"


@given(st.text(alphabet=st.characters(exclude_categories=[]) | st.sampled_from("\x1b[]\x9b;\x07m0P\\")))
def test_nothing_that_controls_is_left(text: str) -> None:
    shown = clean(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs") or c in "\u202e\u2066\u200b" for c in shown)
    assert clean(shown) == shown


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_json_keeps_its_data(text: str) -> None:
    shown = escaped(json.dumps(text, ensure_ascii=False))
    assert json.loads(shown) == text
    assert clean(shown) == shown

"""Words for messages: the type of a value, and the likely fix for an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from types import NoneType

from agentdeck.workflow.model import Data

#: So many names are listed where none is similar.
LISTED = 12


def kind(value: Data) -> str:
    """The type of a value in words."""
    names: dict[type, str] = {
        NoneType: "nothing", bool: "true or false", int: "a number", float: "a number", str: "text",
        list: "a list", dict: "a map",
    }  # fmt: skip
    return names.get(type(value), type(value).__name__)


def likely_fix(name: str, known: Iterable[str]) -> str:
    """The known name that is similar, else a list of those that there are."""
    options = list(known)
    close = difflib.get_close_matches(name, options, 1, 0.6)
    if close:
        return f"did you mean {close[0]}?"
    shown = ", ".join(options[:LISTED]) + (", …" if len(options) > LISTED else "")
    return f"there are {shown}" if options else ""

"""Words for messages: the type of a value, what is wrong with it, and the likely fix for an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from types import NoneType

from agentdeck.workflow.model import Data, Type

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
    shown = ", ".join(options[:LISTED]) + (", …" if len(options) > LISTED else "")
    return did_you_mean(name, options, f"there are {shown}" if options else "")


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """The known name that is similar, as a question; `otherwise` where there is none."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else otherwise


def article(kind: str) -> str:
    """`a list`, `an object`."""
    return ("an " if kind[0] in "aeiou" else "a ") + kind


#: The Python types of the values of each type. A bool is an int, and fits only where it is named.
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "any": (object, bool), "boolean": (bool,), "integer": (int,), "number": (int, float), "string": (str,),
    "list": (list,), "object": (dict,),
}  # fmt: skip


def fits(value: Data, type_: Type) -> str:
    """Empty where the value is of the type; else what is wrong, as the end of a sentence: "text, not a
    number"."""
    if type_.kind == "choice":
        options = ", ".join(map(str, type_.choices))
        return "" if value in type_.choices else f"{value!r}, not one of {options}"
    types = _PYTHON_TYPES[type_.kind]
    if isinstance(value, types) and (bool in types or not isinstance(value, bool)):
        return ""
    shown = repr(value)
    return f"{shown[:40]}{'…' if len(shown) > 40 else ''}, not {article(type_.kind)}"

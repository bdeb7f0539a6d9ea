"""Checks a value against the type of an input or a field."""

from __future__ import annotations

from agentdeck.workflow.model import Data, Type


def article(kind: str) -> str:
    """`a list`, `an object`."""
    return ("an " if kind[0] in "aeiou" else "a ") + kind


def fits(value: Data, type_: Type) -> str:
    """Empty where the value is of the type; else what is wrong, as the end of a sentence: "text, not a
    number"."""
    match type_.kind:
        case "any":
            return ""
        case "choice":
            if value in type_.choices:
                return ""
            return f"{value!r}, not one of {', '.join(map(str, type_.choices))}"
        case "boolean":
            good = isinstance(value, bool)
        case "integer":
            good = isinstance(value, int) and not isinstance(value, bool)
        case "number":
            good = isinstance(value, int | float) and not isinstance(value, bool)
        case "string":
            good = isinstance(value, str)
        case "list":
            good = isinstance(value, list)
        case _:
            good = isinstance(value, dict)
    shown = repr(value)
    return "" if good else f"{shown[:40]}{'…' if len(shown) > 40 else ''}, not {article(type_.kind)}"

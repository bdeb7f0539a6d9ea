"""How long a prompt's text will be, without writing it.

The loop asks before each call, to reserve tokens and money. Writing 4 MB of values takes up to 0.2 s and is done
in a thread, where the call is made; their size as compact JSON is known after 15 ms.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic_core import to_json

from agentdeck.workflow.expression_functions import LARGEST_TEXT
from agentdeck.workflow.expressions import Expression, ExpressionError, show, split
from agentdeck.workflow.json_text import room_left
from agentdeck.workflow.model import Data, Prompt

#: Characters of a value that are simply written.
SHORT = 4_000


class PromptSize:
    """The size of a prompt's text and its system text in any scope. Raises ExpressionError where they cannot be
    rendered."""

    def __init__(self, does: Prompt) -> None:
        self._parts = [*split(does.text), *split(does.system or "")]

    def characters(self, scope: Mapping[str, Data]) -> int:
        """Never less than there will be."""
        return sum(_size(part, scope)[0] for part in self._parts)

    def bytes(self, scope: Mapping[str, Data]) -> int:
        """In UTF-8; never less than there will be."""
        return sum(_size(part, scope)[1] for part in self._parts)


def _size(part: str | Expression, scope: Mapping[str, Data]) -> tuple[int, int]:
    """Characters and bytes."""
    value = part.evaluate(scope) if isinstance(part, Expression) else part
    if value is None or isinstance(value, str) or room_left(value, SHORT) >= 0:
        text = show(value)
        return len(text), len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    try:
        raw = to_json(value, inf_nan_mode="constants")
    except ValueError:  # what no UTF-8 can hold; rare, and exact
        text = show(value)
        return len(text), len(text.encode("utf-8", "replace"))
    characters = len(raw) if raw.isascii() else len(raw.decode())
    if characters > LARGEST_TEXT:
        raise ExpressionError("too much JSON inside text")
    spaces = raw.count(b",") + raw.count(b":")
    return characters + spaces, len(raw) + spaces

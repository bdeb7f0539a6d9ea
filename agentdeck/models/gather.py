"""What a stream has brought so far."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from agentdeck.errors import StepError
from agentdeck.models.provider import Call
from agentdeck.workflow.model import Data

#: An answer longer than this is none.
MOST_TEXT = 16_000_000


class Gathered:
    """Text and calls of tools, piece by piece. `complete` once the model has said that it is done, `ended` why.
    The arguments of the tool `shown` are an answer too. `came` passes on what is new of either, and is to be
    called whenever something came: that is a sign of life."""

    def __init__(self, who: str, said: Callable[[str], None], shown: str = "") -> None:
        self.who = who
        self.complete = False
        self.ended = "stop"
        self._shown = shown
        self._said = said
        self._pieces: list[str] = []
        self._new: list[str] = []
        self._size = 0
        self._calls: dict[Any, _Pieces] = {}

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def shown(self) -> str:
        """The arguments of the tool `shown`, as far as they have come; empty where it is not called."""
        called = (call for call in self._calls.values() if call.name == self._shown)
        return "".join(piece for call in called for piece in call.arguments)

    def came(self) -> None:
        new = "".join(self._new)
        self._new.clear()
        self._said(new)

    def say(self, piece: Data) -> None:
        """A piece of text; anything else is none."""
        if piece and isinstance(piece, str):
            self._grow(piece)
            self._pieces.append(piece)
            self._new.append(piece)

    def call(self, at: Data, *, id: str = "", name: str = "", piece: str = "") -> None:  # noqa: A002
        """A piece of the call at this place."""
        if at not in self._calls:
            self._calls[at] = _Pieces()
        call = self._calls[at]
        call.id, call.name = call.id or id, call.name or name
        call.arguments.append(piece)
        self._grow(piece)
        if call.name == self._shown:
            self._new.append(piece)

    def calls(self) -> tuple[Call, ...]:
        """The calls, complete. Raises StepError of kind `invalid` for arguments that are none."""
        made = []
        for at, call in self._calls.items():
            text = "".join(call.arguments).strip()
            try:
                arguments = json.loads(text) if text else {}
            except (ValueError, RecursionError):
                arguments = None
            if not isinstance(arguments, Mapping) or not call.name:
                what = f"{self.who} wants the tool {call.name or '(no name)'} called with what is no JSON object"
                raise StepError("invalid", what, detail=text[:2000])
            made.append(Call(call.id or f"call_{at}", call.name, arguments))
        return tuple(made)

    def _grow(self, piece: str) -> None:
        self._size += len(piece)
        if self._size > MOST_TEXT:
            raise StepError("server", f"{self.who} sent more than {MOST_TEXT // 1_000_000} MB of text")


class _Pieces:
    """One call on its way."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


def counted(value: Data, least: int) -> int | None:
    """A count of tokens. Servers that do not count say nothing, or a number that cannot be."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= least else None


def of(value: Data, *names: str) -> Data:
    """What stands under these names, one in the other; None where it does not."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value

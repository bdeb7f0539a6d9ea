"""Assembles an answer from the pieces of a stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

from agentdeck.errors import StepError
from agentdeck.providers.provider import ToolCall
from agentdeck.providers.provider_errors import mid_stream
from agentdeck.workflow.model import Data

#: The largest answer, in characters.
MOST_TEXT = 16_000_000
#: The largest plausible count of tokens.
MOST_TOKENS = 10**9
#: Why answers end, in the words of the protocols and of servers that have their own: the answer is whole, it was
#: cut at its longest length, tools are to be called, or the provider failed.
ENDED = {
    **dict.fromkeys(
        ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed", "done"), "stop"
    ),
    **dict.fromkeys(("length", "max_tokens", "model_length", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(("tool_calls", "tool_use", "function_call"), "tools"),
    **dict.fromkeys(
        ("error", "insufficient_system_resource", "abort", "aborted", "cancelled", "network_error", "timeout",
         "malformed_function_call"),
        "failed",
    ),
}  # fmt: skip


class StreamedAnswer:
    """Text and tool calls, piece by piece. `complete` once the model has said that it is done, `ended` why;
    `thought` once there was reasoning, `wrong` is why the answer cannot be used. The arguments of the tool
    `shown` are an answer too. `flush` passes on what is new of either, and must be called whenever data arrived:
    that is a sign of life."""

    def __init__(self, who: str, on_text: Callable[[str], None], shown: str = "") -> None:
        self.who = who
        self.complete = False
        self.ended = "stop"
        self.thought = False
        self.wrong = ""
        self._shown = shown
        self._on_text = on_text
        self._pieces: list[str] = []
        self._new: list[str] = []
        self._size = 0
        self._calls: list[_ToolCallParts] = []
        self._latest: dict[Any, _ToolCallParts] = {}  # by the place that the provider names

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def shown(self) -> str:
        """The arguments of the tool `shown` so far; empty where there is none, or it is not called."""
        return self.shown_or("") if self._shown else ""

    def shown_or(self, empty: str) -> str:
        """The same; `empty` where it is called without arguments."""
        called = [call for call in self._calls if call.name == self._shown]
        text = "".join(piece for call in called for piece in call.arguments)
        return text or (empty if called else "")

    def flush(self) -> None:
        new = "".join(self._new)
        self._new.clear()
        self._on_text(new)

    def add_text(self, content: Data) -> None:
        """A piece of text, or a list of parts, of which those of type `text` are text."""
        if isinstance(content, list):
            for part in content:
                text = part if isinstance(part, str) else of(part, "text")
                if isinstance(text, str) and of(part, "type") in ("text", "output_text", None):
                    self.add_text(text)
                elif of(part, "type") in ("thinking", "reasoning"):
                    self.thought = True
        elif isinstance(content, dict):
            self.add_text([content])
        elif content and isinstance(content, str):
            self._grow(content)
            self._pieces.append(content)
            self._new.append(content)

    def call(self, at: Data, *, id: str = "", name: str = "", piece: str = "") -> None:  # noqa: A002
        """A piece of the tool call at this place. Some providers reuse the place for consecutive calls: a name
        with another id, or after complete arguments, begins a new call."""
        at = at if isinstance(at, int | str) else None
        call = self._by_id(id) or self._latest.get(at)
        if call is None or (name and call.over(id, piece)):
            call = _ToolCallParts()
            self._calls.append(call)
        self._latest[at] = call
        call.id, call.name = call.id or id, call.name or name
        call.arguments.append(piece)
        self._grow(piece)
        if call.name == self._shown:
            self._new.append(piece)

    def _by_id(self, id: str) -> _ToolCallParts | None:  # noqa: A002
        return next((call for call in self._calls if call.id == id), None) if id else None

    def calls(self) -> tuple[tuple[ToolCall, ...], str]:
        """The complete calls, and what is wrong with the first incomplete one; empty where nothing is."""
        made, wrong = [], ""
        for number, call in enumerate(self._calls):
            arguments = call.read()
            if self.ended == "length" and call is self._calls[-1] and not any(call.arguments):
                arguments = None  # cut before them
            if arguments is not None and call.name:
                made.append(ToolCall(call.id or f"call_{number}", call.name, arguments))
            elif not wrong:
                name = call.name or "(no name)"
                shown = "".join(call.arguments).strip()[:200]
                wrong = f"it called the tool {name} with something that is not a JSON object: {shown}"
        return tuple(made), wrong

    def uncalled(self, calls: Sequence[ToolCall], *, typed: bool) -> str:
        """What is wrong where tools had to be called, and none was. A typed answer may be the call itself."""
        whole = calls or typed or self.ended != "tools"
        return "" if whole else "it ended to call tools, but called none"

    def end(self, reason: Data, key: str, refused: Collection[str]) -> bool:
        """Note why the answer ended; returns whether there is a reason. `key` has it in the protocol, and
        `refused` are those of a provider that refused the content. Raises StepError for these, and for a
        failure."""
        named = str(reason or "")[:100]
        if named.lower() in refused:
            raise StepError("refused", f"{self.who} refused the content ({named})")
        if ENDED.get(named.lower()) == "failed":
            raise mid_stream(self.who, {"message": f"{key} {named}"})
        if named:
            self.ended = ENDED.get(named.lower(), named)
        return bool(named)

    def _grow(self, piece: str) -> None:
        self._size += len(piece)
        if self._size > MOST_TEXT:
            raise StepError("server", f"{self.who} sent more than {MOST_TEXT // 1_000_000} MB of text")


class _ToolCallParts:
    """One tool call of which pieces arrive."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    def over(self, id: str, piece: str) -> bool:  # noqa: A002
        """Whether a name that comes with this id and piece begins another call."""
        if id and self.id:
            return id != self.id
        return bool(self.name and piece) and any(self.arguments) and self.read() is not None

    def read(self) -> dict[str, Data] | None:
        """The arguments; None where they are not a JSON object."""
        text = "".join(self.arguments).strip()
        try:
            arguments = json.loads(text) if text else {}
        except (ValueError, RecursionError):
            return None
        return arguments if isinstance(arguments, dict) else None


def counted(value: Data, least: int) -> int | None:
    """A count of tokens; None where the server sends none, or an impossible number."""
    return value if type(value) is int and least <= value <= MOST_TOKENS else None


def of(value: Data, *names: str) -> Data:
    """The value under these nested names; None where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value

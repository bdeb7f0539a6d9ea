"""The usage of one attempt at a prompt, request by request.

The provider counts a request that is answered. One that is cut (cancelled, timed out, its connection lost) is
billed too, and not counted: its prompt, and the part of the answer that arrived, are estimated from the text,
and the usage is marked as estimated. A request that was refused or never sent costs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from agentdeck.errors import StepError
from agentdeck.limits.token_estimates import BYTES_PER_TOKEN
from agentdeck.providers.model_facts import Prices
from agentdeck.providers.provider import PromptReply, PromptRequest
from agentdeck.scheduler.events import Usage


class _Request(NamedTuple):
    """Token counts of None are unknown."""

    tokens_in: int | None
    tokens_out: int | None
    cached_in: int | None = 0
    simulated: bool = False
    estimated: bool = False


class CallUsage:
    """All requests of one attempt to one model. `expected_out` is the usual length of an answer: it counts for a
    request that is cut before any text arrived."""

    def __init__(self, model: str, prices: Prices, expected_out: int = 0, *, simulated: bool = False) -> None:
        self.model = model
        self._prices = prices
        self._expected_out = expected_out
        self._simulated = simulated
        self._requests: list[_Request] = []
        self._prompt_tokens: int | None = None
        self._sent = False
        self._answer_bytes = 0

    def begin(self, request: PromptRequest) -> None:
        """A request is about to be sent."""
        self._prompt_tokens, self._sent, self._answer_bytes = length_of(request) // BYTES_PER_TOKEN + 1, False, 0

    def sent(self) -> None:
        self._sent = True

    def said(self, piece: str) -> None:
        self._sent = True
        self._answer_bytes += bytes_of(piece)

    def answered(self, reply: PromptReply) -> None:
        self._end(_Request(reply.tokens_in, reply.tokens_out, reply.cached_in, reply.simulated))

    def failed(self, error: StepError) -> None:
        """The request failed. A refused request is not billed; one that was cut while it was answered is."""
        billed = self._answer_bytes or error.begun or (self._sent and error.fault.kind == "network")
        self._end(self._cut(self._answer_bytes // BYTES_PER_TOKEN) if billed else None)

    def usage(self) -> Usage | None:
        """The usage of all requests, one under way as if it were cut now. None where nothing was used."""
        requests = self._requests
        if self._prompt_tokens is not None and self._sent:
            out = self._answer_bytes // BYTES_PER_TOKEN if self._answer_bytes else self._expected_out
            requests = [*requests, self._cut(out)]
        if not requests:
            return None
        counts = [(one.tokens_in, one.tokens_out, one.cached_in) for one in requests]
        return Usage(
            _count(one.tokens_in for one in requests),
            _count(one.tokens_out for one in requests),
            _count(one.cached_in for one in requests),
            _sum(self._prices.usd(self.model, *count) for count in counts),
            _sum(self._prices.usd_top(*count) for count in counts),
            self.model,
            any(one.simulated for one in requests),
            any(one.estimated for one in requests),
        )

    def _cut(self, tokens_out: int) -> _Request:
        return _Request(self._prompt_tokens, tokens_out, 0, self._simulated, estimated=True)

    def _end(self, request: _Request | None) -> None:
        if request is not None:
            self._requests.append(request)
        self._prompt_tokens = None


def together(usages: Sequence[CallUsage], model: str = "") -> Usage | None:
    """The usage of several calls of one attempt: two where it was hedged. `model` is the one to record."""
    found = [usage for one in usages if (usage := one.usage()) is not None]
    if len(found) < 2:
        return found[0] if found else None
    return Usage(
        _count(one.tokens_in for one in found),
        _count(one.tokens_out for one in found),
        _count(one.cached_in for one in found),
        _sum(one.usd for one in found),
        _sum(one.usd_reasoning for one in found),
        model or found[0].model,
        any(one.simulated for one in found),
        any(one.estimated for one in found),
    )


def length_of(request: PromptRequest) -> int:
    """Bytes of text in a request, tools and the schema of the answer included."""
    turns = sum(
        bytes_of(message.text) + sum(len(str(call.arguments)) for call in message.calls)
        for message in request.messages
    )
    tools = sum(len(tool.name) + bytes_of(tool.about) + len(str(tool.schema)) for tool in request.tools)
    schema = 0 if request.schema is None else len(str(request.schema))
    return turns + bytes_of(request.system) + tools + schema


def bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; None where one of the values is."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _count(values: Iterable[int | None]) -> int | None:
    total = _sum(values)
    return None if total is None else int(total)

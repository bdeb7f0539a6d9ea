"""What one attempt at a prompt has used so far, request by request.

A request that is answered is counted by the provider. One that is cut (cancelled, timed out, its connection lost)
costs money too, and nothing counts it: its prompt, and what had come of the answer, are estimated from the text,
and the usage is marked as estimated. One that was refused, or never sent, costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from agentdeck.errors import StepError
from agentdeck.limits.token_estimates import BYTES_PER_TOKEN
from agentdeck.providers.prices import Prices
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
    """All requests of one attempt to one model. `expected_out` is how long an answer usually is: that much counts
    for a request that is cut before anything came."""

    def __init__(self, model: str, prices: Prices, expected_out: int = 0, *, simulated: bool = False) -> None:
        self.model = model
        self._prices = prices
        self._expected_out = expected_out
        self._simulated = simulated
        self._requests: list[_Request] = []
        self._asked: int | None = None
        self._sent = False
        self._said = 0

    def begin(self, question: PromptRequest) -> None:
        """A request is about to be sent."""
        self._asked, self._sent, self._said = length_of(question) // BYTES_PER_TOKEN + 1, False, 0

    def sent(self) -> None:
        self._sent = True

    def said(self, piece: str) -> None:
        self._sent = True
        self._said += bytes_of(piece)

    def answered(self, reply: PromptReply) -> None:
        self._end(_Request(reply.tokens_in, reply.tokens_out, reply.cached_in, reply.simulated))

    def failed(self, error: StepError) -> None:
        """The request failed. One that was refused is not billed; one that was cut while it was answered is."""
        billed = self._said or error.begun or (self._sent and error.fault.kind == "network")
        self._end(self._cut(self._said // BYTES_PER_TOKEN) if billed else None)

    def usage(self) -> Usage | None:
        """All requests together, one under way as if it were cut now. None where nothing was used."""
        requests = self._requests
        if self._asked is not None and self._sent:
            out = self._said // BYTES_PER_TOKEN if self._said else self._expected_out
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
        return _Request(self._asked, tokens_out, 0, self._simulated, estimated=True)

    def _end(self, request: _Request | None) -> None:
        if request is not None:
            self._requests.append(request)
        self._asked = None


def together(spendings: Sequence[CallUsage], model: str = "") -> Usage | None:
    """What several calls of one attempt used: two where it was hedged. `model` is the one that is recorded."""
    found = [usage for one in spendings if (usage := one.usage()) is not None]
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


def length_of(question: PromptRequest) -> int:
    """How many bytes of text a request has, tools and the schema of the answer among them."""
    turns = sum(
        bytes_of(turn.text) + sum(len(str(call.arguments)) for call in turn.calls) for turn in question.turns
    )
    tools = sum(len(tool.name) + bytes_of(tool.about) + len(str(tool.schema)) for tool in question.tools)
    schema = 0 if question.schema is None else len(str(question.schema))
    return turns + bytes_of(question.system) + tools + schema


def bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _sum(values: Iterable[float | None]) -> float | None:
    """A value that is unknown in one of them is unknown."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _count(values: Iterable[int | None]) -> int | None:
    total = _sum(values)
    return None if total is None else int(total)

"""The usage of one attempt at a prompt, request by request.

The provider counts a request that is answered. One that is cut (cancelled, timed out, its connection lost) is
billed too, and not counted: its prompt, and the part of the answer that arrived, are estimated from the text,
and the usage is marked as estimated. A request that was refused or never sent costs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

from agentdeck.errors import StepError
from agentdeck.limits.token_estimates import BYTES_PER_TOKEN
from agentdeck.providers.model_facts import Prices
from agentdeck.providers.provider import PromptReply, PromptRequest
from agentdeck.scheduler.events import Usage

#: Input, output and cached input of a request; None is unknown.
Counts: TypeAlias = tuple[int | None, int | None, int | None]


class CallUsage:
    """All requests of one attempt to one model. `expected_out` is the usual length of an answer: it counts for a
    request that is cut before any text arrived."""

    def __init__(self, model: str, prices: Prices, expected_out: int = 0, *, simulated: bool = False) -> None:
        self.model = model
        self._prices = prices
        self._expected_out = expected_out
        self._simulated = simulated
        self._requests: list[Usage] = []
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
        counts = (reply.tokens_in, reply.tokens_out, reply.cached_in)
        self._end(self._request(counts, simulated=reply.simulated))

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
        return sum_of(requests, self.model)

    def _cut(self, tokens_out: int) -> Usage:
        return self._request((self._prompt_tokens, tokens_out, 0), simulated=self._simulated, estimated=True)

    def _request(self, counts: Counts, *, simulated: bool, estimated: bool = False) -> Usage:
        usd, usd_reasoning = self._prices.usd(self.model, *counts), self._prices.usd_top(*counts)
        return Usage(*counts, usd, usd_reasoning, self.model, simulated, estimated)

    def _end(self, request: Usage | None) -> None:
        if request is not None:
            self._requests.append(request)
        self._prompt_tokens = None


class HasUsage(Protocol):
    """Something in an attempt that uses tokens."""

    def usage(self) -> Usage | None:
        """What it has used so far; None where it has used nothing."""


def together(usages: Sequence[HasUsage], model: str = "") -> Usage | None:
    """The usage of several calls of one attempt: two where it was hedged. `model` is the one to record."""
    found = [usage for one in usages if (usage := one.usage()) is not None]
    return sum_of(found, model if len(found) > 1 else "")


def sum_of(usages: Sequence[Usage], model: str) -> Usage | None:
    """The sum; None for no usage. `model` is that of the first where it is empty."""
    if not usages:
        return None
    return Usage(
        _count(one.tokens_in for one in usages),
        _count(one.tokens_out for one in usages),
        _count(one.cached_in for one in usages),
        _sum(one.usd for one in usages),
        _sum(one.usd_reasoning for one in usages),
        model or usages[0].model,
        any(one.simulated for one in usages),
        any(one.estimated for one in usages),
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

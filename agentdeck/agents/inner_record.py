"""Records what happens inside an attempt: its inner steps as events, their text in the log, the tokens they
used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentdeck.agents.attempt_usage import sum_of
from agentdeck.agents.frameworks.framework import Ended, Started, Text, Used
from agentdeck.agents.plain_data import LONGEST_EXCERPT, excerpt
from agentdeck.agents.prompt_log import TextLog
from agentdeck.agents.verb import AttemptContext
from agentdeck.errors import Fault
from agentdeck.scheduler.events import InnerEnded, InnerStarted, Usage

#: Inner steps of one attempt that are recorded; of the others, only what they used counts.
MOST = 20_000
LONGEST_NAME = 80

#: The price of an answer of a model in dollars: its name, tokens in, tokens out, tokens in from the cache.
PriceOf = Callable[[str, int | None, int | None, int | None], float | None]


def no_price(model: str, tokens_in: int | None, tokens_out: int | None, cached_in: int | None) -> float | None:
    return None


@dataclass(slots=True, eq=False)
class _Inner:
    number: int
    name: str
    used: list[Usage] = field(default_factory=list)
    text: TextLog | None = None


class InnerRecord:
    """What happens inside one attempt, event by event. Ids are the framework's own; they may come again once
    their inner step has ended. `price_of` gives the dollars that a call of a model costs."""

    def __init__(self, work: AttemptContext, price_of: PriceOf = no_price) -> None:
        self._work = work
        self._price_of = price_of
        self._open: dict[str, _Inner] = {}
        self._count = 0
        self._used: list[Usage] = []
        self._own_text: TextLog | None = None
        work.usages.append(self)

    def apply(self, event: Started | Text | Used | Ended) -> None:
        self._work.alive()
        match event:
            case Started():
                self._start(event)
            case Text():
                self._say(event)
            case Used():
                self._use(event)
            case Ended():
                self._end(event)

    def usage(self) -> Usage | None:
        """The sum of all calls so far; None where there was none."""
        return sum_of(self._used, "")

    def close(self) -> None:
        """The attempt is over: log what is left of the text."""
        for inner in self._open.values():
            if inner.text is not None:
                inner.text.close()
        if self._own_text is not None:
            self._own_text.close()
        if self._count > MOST:
            self._work.log(f"… {self._count - MOST:,} more inner steps are not recorded", "warning")

    def _start(self, event: Started) -> None:
        self._count += 1
        name = " ".join(str(event.name).split())[:LONGEST_NAME].replace("/", "∕") or "?"
        inner = self._open[event.id] = _Inner(self._count, name)
        if self._count <= MOST:
            above = self._open.get(event.parent)
            parent = 0 if above is None else above.number
            kind = str(event.kind)[:LONGEST_NAME]
            self._work.record(InnerStarted, inner.number, name, parent, kind, excerpt(event.input))

    def _say(self, event: Text) -> None:
        inner = self._open.get(event.id)
        if inner is None:
            if self._own_text is None:
                self._own_text = TextLog(self._work.log, self._work.alive)
            self._own_text(str(event.delta))
            return
        if inner.text is None:
            inner.text = TextLog(_Prefixed(inner.name, self._work.log), self._work.alive)
        inner.text(str(event.delta))

    def _use(self, event: Used) -> None:
        model = str(event.model)[:LONGEST_NAME]
        counts = _count(event.tokens_in), _count(event.tokens_out), _count(event.cached_in)
        used = Usage(*counts, self._price_of(model, *counts), None, model)
        self._used = [used] if not self._used else [_sum([*self._used, used])]
        inner = self._open.get(event.id)
        if inner is not None:
            inner.used.append(used)

    def _end(self, event: Ended) -> None:
        inner = self._open.pop(event.id, None)
        if inner is None:
            return
        if inner.text is not None:
            inner.text.close()
        if inner.number <= MOST:
            error = str(event.error)[:LONGEST_EXCERPT]
            fault = Fault("exception", error) if error else None
            output = None if error else excerpt(event.output)
            self._work.record(InnerEnded, inner.number, output, fault, sum_of(inner.used, ""))


class _Prefixed:
    """Writes lines of an inner step into the log of its attempt, each with its name."""

    def __init__(self, name: str, log: Callable[[str], None]) -> None:
        self._name = name
        self._log = log

    def __call__(self, text: str) -> None:
        self._log("\n".join(f"{self._name}: {line}" for line in text.split("\n")))


def _sum(used: list[Usage]) -> Usage:
    found = sum_of(used, "")
    assert found is not None
    return found


def _count(value: Any) -> int | None:
    """The tokens that a framework reports, None for what is no number of tokens."""
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12
    return value if whole else None

"""The interface between the engine and the verbs of agents."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from agentdeck.agents.attempt_usage import CallUsage, HasUsage
from agentdeck.gateway.open_call import OpenCalls
from agentdeck.processes.children import Children
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.provider import Closer, RateHeaders
from agentdeck.scheduler.events import AttemptPlaced, Usage
from agentdeck.workflow.deck import Deck
from agentdeck.workflow.model import Agent, Data, Definition

if TYPE_CHECKING:
    from agentdeck.providers.registry import ProviderRegistry

T = TypeVar("T")

#: Characters of the name of a worker that are recorded.
LONGEST_WORKER = 120


async def _at_once(tokens_in: int | None, tokens_out: int | None) -> None:
    pass


def _not_recorded(event: type, *values: Any) -> None:
    pass


class VerbResult(NamedTuple):
    """The result of an attempt: plain data, and what it used where that is known."""

    output: Data
    usage: Usage | None = None


@dataclass(slots=True, eq=False)
class AttemptContext:
    """One attempt of one step, with all it may read. Not modified by verbs (frozen would enforce that, at a
    tenth of the cost of a small step).

    `scope` is what `${…}` reads: `inputs`, each upstream agent by name, `needs` (those outputs in order of
    declaration), `item`, `previous`, `run`, `task`. `with_` is the agent's `with`, already rendered.
    `log(text, level)` takes one or more lines; it may be called from any thread and never blocks for long.
    `alive()` shows a sign of life (the idle clock starts again); `log` implies it.
    `deadline` is on the run's clock, None where there is none.
    """

    run: str
    task: str
    step: str
    attempt: int
    agent: Agent
    scope: Mapping[str, Data]
    with_: Mapping[str, Data]
    log: Callable[..., None]
    alive: Callable[[], None]
    deadline: float | None = None
    seed: int = 0
    tier_up: int = 0
    model: str = ""  # the name in the deck of the model for a prompt; empty: the first of its tier
    max_output: int | None = None  # fewer tokens than the agent asks for, when a budget runs low
    cut_at: int = 0  # output tokens at which the answer before this one was cut; 0: it was not
    fault: str = ""  # why the attempt before this one was refused, when it was `invalid`
    #: Awaited before each further request of the same attempt, with the tokens that the one before it used: of
    #: its prompt and its answer, if known.
    next_request: Callable[[int | None, int | None], Awaitable[None]] = _at_once
    sent: Callable[[], None] = lambda: None  # called when the last byte of a request has been written
    #: Awaited with the usage so far and the size of the next request in bytes; returns its `max_output`.
    afford: Callable[[CallUsage, int], Awaitable[int | None]] | None = None
    usages: list[HasUsage] = field(default_factory=list)  # what each call of this attempt has used so far
    expected_out: int = 0  # the usual length of an answer, in tokens
    answered: Callable[[], None] = lambda: None  # called when the answer to a request has begun
    refused: Callable[[], None] = lambda: None  # called when a server refused a request as it has too many
    #: Called with the characters of the answer; returns the number at which to call again.
    grew: Callable[[int], int] = lambda _: sys.maxsize
    #: The variables through which clients of OpenAI and Anthropic find the gateway, with a key that ends with the
    #: attempt: OPENAI_BASE_URL, OPENAI_API_KEY, ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY. Empty without a gateway.
    gateway: Mapping[str, str] = field(default_factory=dict)

    #: Called on the event loop: True where a thread of the attempt goes on after its cancellation, False when
    #: that thread has ended.
    hold_worker: Callable[[bool], None] = lambda _: None

    round: int = 1
    #: The answers to the questions with which the attempt before this one ended, by their ids.
    answers: Mapping[str, Data] = field(default_factory=dict)
    #: Called on the event loop with AttemptPlaced, InnerStarted or InnerEnded, and its values after `attempt`:
    #: records what happens inside the attempt.
    record: Callable[..., None] = _not_recorded

    def placed(self, worker: str) -> None:
        """On the event loop: record that a worker with this name, of the place of the attempt, has begun it."""
        self.record(AttemptPlaced, " ".join(worker.split())[:LONGEST_WORKER])

    @property
    def id(self) -> str:
        """The correlation id: run, task, step, attempt."""
        return f"{self.run}/{self.task}/{self.step}#{self.attempt}"


class Verb(Protocol):
    """What an agent does. One object serves all steps of its agent, many at a time.

    `run` returns plain data or a `VerbResult`, and raises `StepError` for failures of a known kind; any other
    exception is recorded as `exception`. It honours cancellation within a second."""

    async def run(self, work: AttemptContext) -> Data | VerbResult: ...


#: The message of a cancellation that ends an attempt without grace.
NOW = "now"


@dataclass(frozen=True, slots=True)
class WorkflowContext:
    """What all verbs of a run share. `sleep` follows the run's clock; `functions` are Python agents given as
    objects, by agent name; `closing` collects what is closed when the run ends (clients, pools).
    `record_headers` gets the rate limits in a provider's headers, with the provider's name in the deck.
    `children` are the processes that verbs start. `keys` reads the deck's secrets and masks them. `db` is the
    file of the store, None for a run without one. `calls` are those that wait in the gateway."""

    definition: Definition
    folder: Path
    sleep: Callable[[float], Awaitable[None]]
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    closing: list[Closer] = field(default_factory=list)
    deck: Deck = field(default_factory=Deck)
    record_headers: Callable[[str, RateHeaders], None] = lambda *_: None
    children: Children = field(default_factory=Children)
    keys: KeyStore = field(default_factory=KeyStore)
    db: Path | None = None
    calls: OpenCalls = field(default_factory=OpenCalls)
    _shared: dict[type, Any] = field(default_factory=dict)

    def shared(
        self, kind: type[T], make: Callable[[], T], close: Callable[[T], Awaitable[None]] | None = None
    ) -> T:
        """The object of this kind that all verbs of the run share, made on first use, closed at the end."""
        found: T | None = self._shared.get(kind)
        if found is None:
            found = self._shared[kind] = make()
            if close is not None:
                self.closing.append((f"{kind.__module__}.{kind.__qualname__}", partial(close, found)))
        return found

    @property
    def registry(self) -> ProviderRegistry:
        """The providers and the MCP servers of the deck, which all verbs of the run share."""
        from agentdeck.providers.registry import ProviderRegistry

        return self.shared(
            ProviderRegistry,
            lambda: ProviderRegistry(
                self.deck, self.sleep, keys=self.keys, children=self.children, closing=self.closing
            ),
        )

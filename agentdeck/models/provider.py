"""The seam between a prompt and whoever answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from agentdeck.workflow.model import Data


class Turn(NamedTuple):
    """One message. `role`: user, assistant, tool. `images` are files; `calls` and `call` belong to tool use."""

    role: str
    text: str
    images: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    call: str = ""


class Call(NamedTuple):
    """A tool that the model wants called."""

    id: str
    name: str
    arguments: Mapping[str, Data]


class Tool(NamedTuple):
    """A tool that may be called. `schema` is the JSON Schema of its arguments."""

    name: str
    about: str
    schema: Mapping[str, Data]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a model. `model` is the provider's own id for it. `schema` is the JSON Schema of the
    answer, None for text. `tier` and `seed` mean something to the simulated provider only."""

    model: str
    turns: Sequence[Turn]
    system: str = ""
    schema: Mapping[str, Data] | None = None
    temperature: float | None = None
    max_output: int | None = None
    stop: Sequence[str] = ()
    tools: Sequence[Tool] = ()
    tier: str = "execution"
    seed: int = 0


class Told(NamedTuple):
    """What a provider's headers say of its limits; None where it says nothing. Resets are seconds from now."""

    requests: int | None = None
    requests_left: int | None = None
    requests_reset: float | None = None
    tokens: int | None = None
    tokens_left: int | None = None
    tokens_reset: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer. Token counts of None are unknown. `tokens_in` includes `cached_in`. `ended`: stop,
    length, tools, refused."""

    text: str
    calls: Sequence[Call] = ()
    tokens_in: int | None = None
    tokens_out: int | None = None
    cached_in: int | None = None
    ended: str = "stop"
    told: Told = field(default_factory=Told)
    simulated: bool = False


class Provider(Protocol):
    """One provider of the deck. One object serves all prompts of a run, many at a time.

    `answer` streams: `said` gets each piece of text as it comes. It raises StepError with a kind of
    `agentdeck.errors.KINDS`; the text that had come is in the fault's `detail`. It honours cancellation at once.
    """

    async def answer(self, question: Question, said: Callable[[str], None]) -> Reply: ...

    def close(self) -> Awaitable[None]: ...

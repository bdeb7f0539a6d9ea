"""The seam `agentdeck.places`: where the attempts of agents run.

[project.entry-points."agentdeck.places"]
acme = "acme_agentdeck:AcmePlace"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from agentdeck import plugins
from agentdeck.agents.verb import Verb, WorkflowContext
from agentdeck.errors import StepError, described
from agentdeck.places.report import PlaceReport
from agentdeck.plugins import PLUGIN_ERRORS, Loaded, PluginError
from agentdeck.processes.children import Children
from agentdeck.providers.provider import Closer
from agentdeck.workflow.deck import LOCAL, Deck, DeckPlace
from agentdeck.workflow.model import Agent
from agentdeck.workflow.place_types import DeckPlaceType


class PlaceTarget(NamedTuple):
    """What an agent calls at a place: `module:name` as it is written, and the folder of its workflow, in which
    the module is looked up first."""

    agent: str
    target: str
    folder: Path


@dataclass(frozen=True, slots=True)
class PlaceRun:
    """A run, as one of its places sees it.

    `targets` is what the agents of the run, and of its sub-workflows, call there. `children` starts processes
    that end with the run, and `hide` masks secrets in a text. The others are called on the event loop, until
    `close` returns: `hold(why)` when the place is out of reach, so that its steps wait with the reason `place`,
    and `release()` when it is back; `note` takes a line for the history of the run."""

    run: str
    targets: tuple[PlaceTarget, ...]
    children: Children
    hide: Callable[[str], str]
    hold: Callable[[str], None]
    release: Callable[[], None]
    note: Callable[[str], None]


class Place(DeckPlaceType, ABC):
    """A place where attempts run, in one run that names it. `config` is what the deck says of it.

    The engine decides everything about an attempt: when it starts, its clocks, retries, limits and `once`. A
    place executes it at most once, and ends it when it is cancelled.
    """

    def __init__(self, config: DeckPlace) -> None:
        self.config = config

    async def connect(self, run: PlaceRun) -> None:
        """Awaited once, before anything of the run, or of its resume, is recorded. Raises UsageError, with what
        is to be done, where its agents cannot run here: the launch or the resume is refused with this text.
        `close` follows in any case."""

    @abstractmethod
    def prepare(self, agent: Agent, context: WorkflowContext) -> Verb:
        """What the engine calls for the attempts of an agent, many at a time. Its `run(work)` executes one
        attempt here and returns the result; `work.log` takes its log lines, `work.alive` its signs of life. When
        the call is cancelled, the attempt has to end within a second, wherever it runs, or its log says that it
        goes on.

        Raises StepError of kind `setup` where the agent cannot run here. It is called on the event loop, once
        per agent, before the first attempt."""

    async def report(self, children: Children) -> PlaceReport:
        """Its workers now, and whether it can be used, for `agentdeck places`: the place is used for nothing
        else, and then closed. What it starts is one of `children`."""
        return PlaceReport()

    async def close(self) -> None:
        """The run is over: no attempt is under way any more."""


class Places:
    """The places of a run, as the deck describes them. A type of places is also a place of its own name, without
    any options."""

    def __init__(self, deck: Deck | None = None) -> None:
        self._deck = Deck() if deck is None else deck
        self._places: dict[str, Place] = {}

    def find(self, name: str = LOCAL) -> Place:
        """The place with this name. Raises StepError of kind `setup` where there is none that can be used."""
        place = self._places.get(name)
        if place is None:
            config = self._deck.places.get(name) or DeckPlace(name, name)
            try:
                place = self._places[name] = plugins.find("places", config.type, make_place)(config)
            except KeyError:
                known = ", ".join((*self._deck.places, *plugins.names("places")))
                raise StepError("setup", f"there is no place {name}; there are {known}") from None
            except PluginError as error:
                raise StepError("setup", f"the place {name} does not load: {error}") from None
        return place

    def closers(self) -> list[Closer]:
        """What is to be closed when the run is over. Each is returned once."""
        found: list[Closer] = [(f"place {name}", place.close) for name, place in self._places.items()]
        self._places.clear()
        return found

    async def close(self) -> None:
        for _, close in self.closers():
            await close()


def make_place(name: str, found: Any) -> Callable[[DeckPlace], Place]:
    """What makes the places of a plugin. Raises PluginError for a class that is none of a place, or an unfinished
    one."""
    if not (isinstance(found, type) and issubclass(found, Place)):
        raise PluginError("it is not a subclass of agentdeck.places.place.Place")
    if missing := getattr(found, "__abstractmethods__", None):
        raise PluginError(f"it has no {', '.join(sorted(missing))}")
    return partial(_made, found)


def _made(found: type[Place], config: DeckPlace) -> Place:
    try:
        return found(config)
    except PLUGIN_ERRORS as error:
        raise PluginError(described(error)) from None


@cache
def loaded() -> Loaded:
    """The places that are installed, and those that do not load."""
    return plugins.load("places", make_place)

"""The seam `agentdeck.places`: where the attempts of agents run.

[project.entry-points."agentdeck.places"]
acme = "acme_agentdeck:AcmePlace"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache, partial
from typing import Any

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


class Place(DeckPlaceType, ABC):
    """A place where attempts run, in one run. It is made when the first agent needs it. `config` is what the deck
    says of it.

    The engine decides everything about an attempt: when it starts, its clocks, retries, limits and `once`. A
    place executes it at most once, and ends it when it is cancelled.
    """

    def __init__(self, config: DeckPlace) -> None:
        self.config = config

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
        """What is to be closed when the run is over."""
        return [(f"place {name}", place.close) for name, place in self._places.items()]

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

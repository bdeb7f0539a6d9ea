"""The seam `agentdeck.places`: where the attempts of agents run.

[project.entry-points."agentdeck.places"]
acme = "acme_agentdeck:AcmePlace"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import Any

from agentdeck import plugins
from agentdeck.agents.verb import Verb, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.plugins import Loaded, PluginError
from agentdeck.providers.provider import Closer
from agentdeck.workflow.model import Agent

#: The place of agents that name none: the engine's own process.
LOCAL = "local"


class Place(ABC):
    """A place where attempts run, in one run. It is made when the first agent needs it.

    The engine decides everything about an attempt: when it starts, its clocks, retries, limits and `once`. A
    place executes it at most once, and ends it when it is cancelled.
    """

    @abstractmethod
    def prepare(self, agent: Agent, context: WorkflowContext) -> Verb:
        """What the engine calls for the attempts of an agent, many at a time. Its `run(work)` executes one
        attempt here and returns the result; `work.log` takes its log lines, `work.alive` its signs of life. When
        the call is cancelled, the attempt has to end within a second, wherever it runs, or its log says that it
        goes on.

        Raises StepError of kind `setup` where the agent cannot run here. It is called on the event loop, once
        per agent, before the first attempt."""

    async def close(self) -> None:  # noqa: B027 - a place without connections has nothing to do
        """The run is over: no attempt is under way any more."""


class Places:
    """The places of a run."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}

    def find(self, name: str = LOCAL) -> Place:
        """The place with this name. Raises StepError of kind `setup` where there is none that can be used."""
        place = self._places.get(name)
        if place is None:
            try:
                place = self._places[name] = plugins.find("places", name, make_place)
            except KeyError:
                known = ", ".join(plugins.names("places"))
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


def make_place(name: str, found: Any) -> Place:
    """A place of a plugin. Raises PluginError for one that is no place."""
    if not (isinstance(found, type) and issubclass(found, Place)):
        raise PluginError("it is not a subclass of agentdeck.places.place.Place")
    return found()


@cache
def loaded() -> Loaded:
    """The places that are installed, and those that do not load."""
    return plugins.load("places", make_place)

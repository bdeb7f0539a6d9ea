"""The seam `agentdeck.providers`: what a type of provider says of itself, and how a provider of it is made.

    [project.entry-points."agentdeck.providers"]
    acme = "acme_provider:AcmeType"

A module of a type is imported when a deck names the type. It imports its heavy packages (httpx) in `create`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from agentdeck import plugins
from agentdeck.errors import ProviderError
from agentdeck.plugins import Loaded, PluginError
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.provider import Provider
from agentdeck.workflow import deck
from agentdeck.workflow.provider_types import DeckProviderType

if TYPE_CHECKING:
    from agentdeck.providers.http_stream import EventStreamClient


@dataclass(frozen=True, slots=True)
class ProviderContext:
    """What a provider is made from: its name and its values in the deck, the run's keys, and a `sleep` that
    follows the run's clock."""

    name: str
    deck: deck.Provider
    keys: KeyStore
    sleep: Callable[[float], Awaitable[None]]

    def http(self) -> EventStreamClient:
        """A client of its own for requests whose answers are streams of JSON events. The provider closes it."""
        from agentdeck.providers.http_stream import EventStreamClient

        return EventStreamClient(self.name, self.keys.hide)


class PriceList(NamedTuple):
    """Where the package genai-prices lists a model: under the provider's id there, or under the URL of its API;
    under any provider, where both are None."""

    provider: str | None = None
    url: str | None = None


class ProviderType(DeckProviderType, ABC):
    """A type of provider: `type: acme` in the deck. It has no state: one object serves all providers of the
    type."""

    #: Whether the answers are made up. A run with such a provider is marked as simulated.
    simulated: ClassVar[bool] = False

    @abstractmethod
    def create(self, context: ProviderContext) -> Provider:
        """A provider of this type, for one run."""

    def price_list(self, url: str | None) -> PriceList | None:
        """Where the prices of its models are listed; `url` is that of the provider in the deck. None where they
        are not: then a model has the price that the deck gives it, or none."""
        return None

    def default_max_output(self, model: str) -> int | None:
        """The `max_output` that a request gets where nothing sets one, by the model's id; None where the protocol
        needs none."""
        return None


def make_provider_type(name: str, found: Any) -> ProviderType:
    """The type of a plugin. Raises PluginError for one that is no type of provider."""
    if not (isinstance(found, type) and issubclass(found, ProviderType)):
        raise PluginError("it is not a subclass of agentdeck.providers.provider_type.ProviderType")
    return found()


@cache
def loaded() -> Loaded:
    """The types that are installed, and those that do not load or whose keys cannot be read."""

    def make(name: str, found: Any) -> ProviderType:
        made = make_provider_type(name, found)
        made.spec()
        return made

    return plugins.load("providers", make)


@cache
def provider_type(name: str) -> ProviderType:
    """The type with this name. Raises ProviderError where there is none that can be used."""
    try:
        found: ProviderType = plugins.find("providers", name, make_provider_type)
    except KeyError:
        raise ProviderError(f"there is no type of provider {name}; see agentdeck plugins") from None
    except PluginError as error:
        raise ProviderError(f"the type {name} of providers does not load: {error}") from None
    return found

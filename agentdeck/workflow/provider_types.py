"""Types of providers, as far as the deck has to know them. Each is a plugin at the seam `agentdeck.providers`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from agentdeck import plugins
from agentdeck.plugins import PluginError

if TYPE_CHECKING:
    from agentdeck.workflow.deck_file import ProviderSpec


class DeckProviderType:
    """What a type of provider says of itself to the deck. A plugin names a subclass of
    `agentdeck.providers.provider_type.ProviderType`, which adds how a provider of the type is made."""

    def spec(self) -> type[ProviderSpec]:
        """The pydantic model of a provider of this type in the deck. A type with keys of its own returns a
        subclass of ProviderSpec; their values are in the `options` of the deck's provider."""
        from agentdeck.workflow.deck_file import ProviderSpec

        return ProviderSpec


def type_names() -> tuple[str, ...]:
    """The types that a provider of the deck can have."""
    return plugins.names("providers")


@cache
def provider_type(name: str) -> DeckProviderType:
    """The type with this name. Raises KeyError for an unknown one, and PluginError for one that does not load."""
    found: DeckProviderType = plugins.find("providers", name, _checked)
    return found


@cache
def spec_of(name: str) -> type[ProviderSpec]:
    """The pydantic model of a provider of this type. Raises as `provider_type` does."""
    kind = provider_type(name)
    try:
        return kind.spec()
    except Exception as error:  # the plugin's own code
        raise PluginError(f"its keys cannot be read: {type(error).__name__}: {error}") from None


def _checked(name: str, found: Any) -> DeckProviderType:
    if not (isinstance(found, type) and issubclass(found, DeckProviderType)):
        raise PluginError("it is not a subclass of agentdeck.providers.provider_type.ProviderType")
    return found()

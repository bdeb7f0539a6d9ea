"""Types of places, as far as the deck has to know them. Each is a plugin at the seam `agentdeck.places`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from agentdeck import plugins
from agentdeck.plugins import PluginError
from agentdeck.workflow.deck import LOCAL, Deck, DeckPlace
from agentdeck.workflow.model import PLACE_LIMIT, Definition
from agentdeck.workflow.wording import likely_fix

if TYPE_CHECKING:
    from agentdeck.workflow.deck_file import PlaceSpec


class DeckPlaceType:
    """What a type of places says of itself to the deck. A plugin names a subclass of
    `agentdeck.places.place.Place`, which adds how attempts run there."""

    @classmethod
    def spec(cls) -> type[PlaceSpec]:
        """The pydantic model of a place of this type in the deck. A type with keys of its own returns a subclass
        of PlaceSpec; their values are in the `options` of the deck's place."""
        from agentdeck.workflow.deck_file import PlaceSpec

        return PlaceSpec

    @classmethod
    def faults(cls, config: DeckPlace) -> Iterator[tuple[str, str, str]]:
        """What is wrong with a place of this type, as far as can be seen without using it: the key, what is wrong
        with it, a likely fix."""
        yield from ()


def type_names() -> tuple[str, ...]:
    """The types that a place of the deck can have."""
    return plugins.names("places")


@cache
def place_type(name: str) -> type[DeckPlaceType]:
    """The type with this name. Raises KeyError for an unknown one, and PluginError for one that does not load."""
    found: type[DeckPlaceType] = plugins.find("places", name, _checked)
    return found


@cache
def spec_of(name: str) -> type[PlaceSpec]:
    """The pydantic model of a place of this type. Raises as `place_type` does."""
    kind = place_type(name)
    try:
        return kind.spec()
    except Exception as error:  # the plugin's own code
        raise PluginError(f"its keys cannot be read: {type(error).__name__}: {error}") from None


def unknown_place(name: str, deck: Deck) -> tuple[str, str] | None:
    """What is wrong with the name of a place, and a likely fix; None for one that the deck has."""
    if name == LOCAL or name in deck.places:
        return None
    known = [*deck.places, LOCAL]
    fix = likely_fix(name, known) if deck.places else ""
    return f"the deck has no place {name}", fix or f"add it to places in deck.yaml; there are {', '.join(known)}"


def place_faults(config: DeckPlace) -> list[tuple[str, str, str]]:
    """What is wrong with a place of the deck, as its type says."""
    try:
        return list(place_type(config.type).faults(config))
    except Exception as error:  # the plugin's own code
        what = f"the type {config.type} cannot check the place: {type(error).__name__}: {error}"
        return [("type", what, "see agentdeck plugins")]


def with_slots(definition: Definition, deck: Deck) -> Definition:
    """The workflow, with the slots of its agents' places as shared resources: each attempt takes one."""
    used = [deck.places[agent.place] for agent in definition.agents.values() if agent.place in deck.places]
    slots = {slots_name(place.name): place.slots for place in used if place.slots is not None}
    if not slots:
        return definition
    agents = dict(definition.agents)
    for name, agent in agents.items():
        if (slot := slots_name(agent.place)) in slots:
            agents[name] = replace(agent, uses={**agent.uses, slot: 1})
    limits = replace(definition.limits, resources={**slots, **definition.limits.resources})
    return replace(definition, agents=agents, limits=limits)


def slots_name(place: str) -> str:
    """The name of the limit that the slots of a place are."""
    return f"{PLACE_LIMIT}.{place}"


def _checked(name: str, found: Any) -> type[DeckPlaceType]:
    if not (isinstance(found, type) and issubclass(found, DeckPlaceType)):
        raise PluginError("it is not a subclass of agentdeck.places.place.Place")
    return found

"""The places of a deck, asked whether they can be used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.places.place import Places
from agentdeck.places.report import PlaceReport
from agentdeck.processes.children import Children
from agentdeck.workflow.deck import LOCAL, Deck, DeckPlace
from agentdeck.workflow.place_types import unknown_place

#: Seconds in which a place has to report. A cluster that is started for it takes several.
PATIENCE = 60.0


class PlaceState(NamedTuple):
    """A place of the deck, and what it says of itself."""

    config: DeckPlace
    report: PlaceReport

    @property
    def problems(self) -> list[str]:
        """Why it cannot be used, or some of its workers; empty where all can."""
        own = [self.report.problem] if self.report.problem else []
        return own + [f"{one.name}: {one.problem}" for one in self.report.workers if one.problem]


async def place_states(deck: Deck, names: Sequence[str] = ()) -> list[PlaceState]:
    """The places with these names, or all, in the order of the deck, the engine's own process last. All are asked
    at once. Raises UsageError for a name that is none."""
    for name in names:
        if (unknown := unknown_place(name, deck)) is not None:
            raise UsageError("; ".join(unknown))
    found = {**deck.places, LOCAL: DeckPlace(LOCAL, LOCAL)}
    chosen = [config for name, config in found.items() if name in names or not names]
    children, places = Children(), Places(deck)
    try:
        reports = await asyncio.gather(*(_report(places, config, children) for config in chosen))
    finally:
        await places.close()
        await children.close()
    return [PlaceState(config, report) for config, report in zip(chosen, reports, strict=True)]


async def _report(places: Places, config: DeckPlace, children: Children) -> PlaceReport:
    try:
        async with asyncio.timeout(PATIENCE):
            return await places.find(config.name).report(children)
    except AgentdeckError as error:
        return PlaceReport(problem=str(error))
    except TimeoutError:
        return PlaceReport(problem=f"it has not answered within {PATIENCE:g} s")
    except Exception as error:  # the plugin's own code
        return PlaceReport(problem=f"it cannot report: {type(error).__name__}: {error}")

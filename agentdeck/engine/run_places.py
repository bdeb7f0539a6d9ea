"""The places of a run: connected before anything of it is recorded, and what they report afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio

from agentdeck.engine.closing import close_all
from agentdeck.engine.observers import Warn
from agentdeck.errors import StepError, UsageError, described
from agentdeck.places.place import PlaceRun, Places, PlaceTarget
from agentdeck.plugins import PLUGIN_ERRORS
from agentdeck.processes.children import Children
from agentdeck.providers.keys import KeyStore
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import Program
from agentdeck.workflow.agent_kind import kind_of
from agentdeck.workflow.deck import LOCAL, Deck

#: Takes an event without its time, which is that of the call.
Report: TypeAlias = Callable[[Callable[[float], ev.Event]], None]

#: Lines of one place that are recorded in the history of a run.
MOST_NOTES = 200
LONGEST_NOTE = 2_000


class RunPlaces:
    """The places of one run, and what all of them and their agents share: the processes that they start and the
    keys that are masked. What they report before the run takes events is reported once it does."""

    def __init__(self, deck: Deck, children: Children) -> None:
        self.places = Places(deck)
        self.keys = KeyStore(secrets=deck.secrets)
        self.children = children
        self._why: dict[str, str] = {}  # of the places that are out of reach
        self._notes: dict[str, int] = {}
        self._early: list[Callable[[float], ev.Event]] = []
        self._report: Report | None = None

    async def connect(self, run: str, program: Program, folder: Path) -> None:
        """Connect the places that agents of a workflow, or of its sub-workflows, name. Raises UsageError."""
        for name, targets in _targets(program, folder).items():
            hold, release, note = (
                partial(self._hold, name),
                partial(self._release, name),
                partial(self._note, name),
            )
            try:
                place = self.places.find(name)
                await place.connect(
                    PlaceRun(run, tuple(targets), self.children, self.keys.hide, hold, release, note)
                )
            except UsageError:
                raise
            except StepError as error:
                raise UsageError(error.fault.message) from None
            except PLUGIN_ERRORS as error:
                raise UsageError(f"the place {name} cannot be used: {described(error)}") from None

    def with_early(self, first: ev.Event | ev.Signal) -> ev.Event | ev.Signal:
        """The first event of the run, with what the places have reported before it: no step may start in
        between."""
        early, self._early = self._early, []
        return ev.Batch(first.at, (first, *(make(first.at) for make in early))) if early else first

    def begin(self, report: Report) -> None:
        """The run takes events from now on, as long as it lasts."""
        self._report = report
        early, self._early = self._early, []
        for make in early:
            report(make)

    def _send(self, make: Callable[[float], ev.Event]) -> None:
        if self._report is None:
            self._early.append(make)
        else:
            self._report(make)

    def _hold(self, name: str, why: str) -> None:
        if name not in self._why:
            self._why[name] = text = self._shown(why)
            self._send(lambda at: ev.PlaceClosed(at, name, text))

    def _release(self, name: str) -> None:
        if self._why.pop(name, None) is not None:
            self._send(lambda at: ev.PlaceOpened(at, name))

    def _note(self, name: str, text: str) -> None:
        count = self._notes[name] = self._notes.get(name, 0) + 1
        if count <= MOST_NOTES:
            line = f"place {name}: {self._shown(text)}"
            if count == MOST_NOTES:
                line += "; its further lines are not recorded"
            self._send(lambda at: ev.Noted(at, line))

    def _shown(self, text: str) -> str:
        return " ".join(self.keys.hide(str(text)).split())[:LONGEST_NOTE]


@asynccontextmanager
async def connected_places(
    deck: Deck, program: Program, folder: Path, run: str, children: Children, warn: Warn
) -> AsyncIterator[RunPlaces]:
    """The places of a run, connected. Raises UsageError where one refuses. At the end those are closed that the
    end of the run has not closed."""
    found = RunPlaces(deck, children)
    try:
        await found.connect(run, program, folder)
        yield found
    finally:
        if closers := found.places.closers():
            with anyio.CancelScope(shield=True):
                await close_all(closers, warn)
                await children.close()


def _targets(program: Program, folder: Path) -> dict[str, list[PlaceTarget]]:
    """What runs at each place but the engine's own process, by the name of the place."""
    found: dict[str, list[PlaceTarget]] = {}
    for definition in program.definitions():
        where = folder if definition is program.definition else definition.folder or folder
        for name, agent in definition.agents.items():
            if agent.place != LOCAL:
                target = PlaceTarget(name, kind_of(agent).target(agent), where)
                if target not in (targets := found.setdefault(agent.place, [])):
                    targets.append(target)
    return found

"""A small place of a plugin: attempts run on workers with names. The test says what it refuses, what it loses,
and when it is out of reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from agentdeck.agents.secret_masking import runner
from agentdeck.agents.verb import AttemptContext, Verb, VerbResult, WorkflowContext
from agentdeck.errors import StepLost, UsageError
from agentdeck.places.place import Place, PlaceRun
from agentdeck.workflow.deck import DeckPlace
from agentdeck.workflow.model import Agent, Data
from tests.plugin_packages import installed, write_package

DECK = "agentdeck: 1\nplaces:\n  big: { type: far }\n"
REFUSED = "the place big cannot be reached: tcp://10.0.0.5:8786 does not answer"


class FarPlace(Place):
    """Gives its attempts to two workers in turn. `loses` decides which of them are lost with their worker;
    `refuses` is why it cannot be connected, `holds` why it is out of reach from the beginning."""

    made: list[FarPlace] = []  # noqa: RUF012 - of the test that is under way
    loses: Callable[[AttemptContext], bool] = staticmethod(lambda work: False)
    refuses = holds = ""
    run: PlaceRun

    def __init__(self, config: DeckPlace) -> None:
        super().__init__(config)
        self.placed = 0
        self.closed = False
        self.made.append(self)

    async def connect(self, run: PlaceRun) -> None:
        self.run = run
        if self.holds:
            run.hold(self.holds)
        if self.refuses:
            run.note(f"refused: {self.refuses}")
            raise UsageError(self.refuses)

    def prepare(self, agent: Agent, context: WorkflowContext) -> Verb:
        return _Far(self, runner(agent, context))

    async def close(self) -> None:
        self.closed = True


class Refusing(FarPlace):
    refuses = REFUSED


class _Far:
    def __init__(self, place: FarPlace, inner: Verb) -> None:
        self._place = place
        self._inner = inner

    async def run(self, work: AttemptContext) -> Data | VerbResult:
        self._place.placed += 1
        worker = f"far-{1 + self._place.placed % 2}"
        work.placed(worker)
        if self._place.loses(work):
            raise StepLost(f"the worker {worker} is gone")
        return await self._inner.run(work)


@contextmanager
def far_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The place is installed, and the deck of the folder has one with the name `big`."""
    write_package(
        folder,
        "far",
        {"places": {"far": "tests.places.far:FarPlace", "refusing": "tests.places.far:Refusing"}},
        {},
    )
    (folder / "deck.yaml").write_text(DECK)
    monkeypatch.setattr(FarPlace, "made", [])
    monkeypatch.setattr(FarPlace, "refuses", "")
    monkeypatch.setattr(FarPlace, "holds", "")
    monkeypatch.setattr(FarPlace, "loses", staticmethod(lambda work: False))
    with installed(folder, monkeypatch):
        yield


async def nap(n: int = 1) -> int:
    await anyio.sleep(n)
    return n


async def wait_for(file: str) -> None:
    while not Path(file).exists():  # noqa: ASYNC110, ASYNC240 - the test makes it
        await anyio.sleep(0.01)

"""The contract of places."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import anyio
import pytest

from agentdeck.agents.function_call import Context
from agentdeck.agents.verb import AttemptContext, Verb, VerbResult, WorkflowContext
from agentdeck.api.workflow import Workflow
from agentdeck.errors import InvalidFile, StepError, UsageError
from agentdeck.places.place import Place, PlaceRun, Places, PlaceTarget, loaded
from agentdeck.processes.children import Children
from agentdeck.testing.contract import LIMIT, Contract, assert_ends_when_cancelled
from agentdeck.workflow.deck import Deck, load_deck
from agentdeck.workflow.model import Agent, Data

#: Attempts that run at once.
CROWD = 8
#: The name of the place in the deck.
PLACE = "there"


# What the attempts do: a place that is elsewhere finds these functions by their module and name.


def add(x: int, y: int, ctx: Context) -> int:
    ctx.log("adding")
    return x + y


def fail(x: int, y: int) -> None:
    raise ValueError(f"{x} and {y}")


async def wait(x: int, y: int, ctx: Context) -> None:
    ctx.log("waiting")
    await anyio.sleep(LIMIT)


class PlaceContract(Contract):
    """Subclass it in a test module, and set `name`:

        class TestAcme(PlaceContract):
            name = "acme"
            keys = {"region": "north"}

    Where the keys are known only when the test runs (the address of a server that it starts), override the
    fixture `deck_keys` instead.
    """

    #: The `type:` in the deck: the name of the entry point.
    name: ClassVar[str]
    #: The other keys of a place of the type, as in the deck.
    keys: ClassVar[Mapping[str, Data]] = {}
    #: Seconds in which it connects.
    connects_within: ClassVar[float] = LIMIT

    @pytest.fixture
    def deck_keys(self) -> Mapping[str, Data]:
        return self.keys

    @pytest.fixture
    async def place(self, deck_keys: Mapping[str, Data], tmp_path: Path) -> AsyncIterator[Place]:
        """A place as a run has it: connected before its first attempt, closed after its last one."""
        places, run = Places(self._read(deck_keys, tmp_path)), _Run("add", "fail", "wait")
        place = places.find(PLACE)
        try:
            with anyio.fail_after(self.connects_within):
                await place.connect(run.seen)
            assert not run.held, "a place that has connected can be used"
            yield place
        finally:
            await places.close()
        assert not run.processes, "no process that it has started outlives close"

    def test_the_place_is_installed(self) -> None:
        assert self.name in loaded().objects, [str(one) for one in loaded().broken]

    def test_the_deck_takes_its_keys_and_no_others(self, deck_keys: Mapping[str, Data], tmp_path: Path) -> None:
        assert self._read(deck_keys, tmp_path).places[PLACE].type == self.name
        with pytest.raises(InvalidFile, match="not_a_key"):
            self._read({**deck_keys, "not_a_key": 1}, tmp_path)

    @pytest.mark.anyio
    async def test_an_attempt_returns_its_result_and_its_log(self, place: Place) -> None:
        attempt = _Attempt(place, "add")
        with anyio.fail_after(LIMIT):
            assert await attempt.run(2, 3) == 5
        assert "adding" in attempt.lines

    @pytest.mark.anyio
    async def test_an_attempt_fails_as_it_does_in_the_engine(self, place: Place) -> None:
        with anyio.fail_after(LIMIT), pytest.raises(StepError) as caught:
            await _Attempt(place, "fail").run(2, 3)
        assert caught.value.fault.kind == "exception"
        assert caught.value.fault.message == "ValueError: 2 and 3"

    @pytest.mark.anyio
    async def test_many_attempts_run_at_once(self, place: Place) -> None:
        attempt = _Attempt(place, "add")
        sums: list[Data] = []

        async def run(number: int) -> None:
            sums.append(await attempt.run(number, number))

        with anyio.fail_after(LIMIT):
            async with anyio.create_task_group() as group:
                for number in range(CROWD):
                    group.start_soon(run, number)
        assert sorted(sums) == [2 * number for number in range(CROWD)]

    @pytest.mark.anyio
    async def test_a_cancelled_attempt_ends_at_once(self, place: Place) -> None:
        attempt = _Attempt(place, "wait")
        await assert_ends_when_cancelled(attempt.run(2, 3), attempt.logged)
        assert "waiting" in attempt.lines, "the log comes while the attempt runs"

    @pytest.mark.anyio
    async def test_a_function_that_is_not_there_is_refused_or_fails(
        self, deck_keys: Mapping[str, Data], tmp_path: Path
    ) -> None:
        places, run = Places(self._read(deck_keys, tmp_path)), _Run("absent")
        try:
            with anyio.fail_after(self.connects_within), pytest.raises((UsageError, StepError)) as caught:
                await _connected_and_run(places.find(PLACE), run, "absent")
        finally:
            await places.close()
        assert "absent" in str(caught.value), "the error names what is missing"
        assert not run.processes, "no process that it has started outlives close"

    @pytest.mark.anyio
    async def test_a_place_that_was_not_connected_is_closed(
        self, deck_keys: Mapping[str, Data], tmp_path: Path
    ) -> None:
        places = Places(self._read(deck_keys, tmp_path))
        places.find(PLACE)
        await places.close()

    def _read(self, keys: Mapping[str, Data], folder: Path) -> Deck:
        """A deck with a place of the type."""
        file = folder / "deck.yaml"
        file.write_text(json.dumps({"agentdeck": 1, "places": {PLACE: {"type": self.name, **keys}}}))
        return load_deck(file)


class _Run:
    """A run whose agents call functions of this module at the place. `seen` is what the place sees of it;
    `processes` are those that it has started and that have not ended."""

    def __init__(self, *functions: str) -> None:
        self.held: list[str] = []
        self.processes: set[str] = set()
        self.seen = PlaceRun(
            uuid4().hex,
            tuple(PlaceTarget("it", f"{__name__}:{function}", Path()) for function in functions),
            Children(lambda child: self.processes.add(child.mark), self.processes.discard),
            str,
            self.held.append,
            self.held.clear,
            print,
        )


async def _connected_and_run(place: Place, run: _Run, function: str) -> None:
    await place.connect(run.seen)
    await _Attempt(place, function).run(2, 3)


class _Attempt:
    """An agent that calls a function of this module, at a place."""

    def __init__(self, place: Place, function: str) -> None:
        made = Workflow("contract", inputs={"x": "integer", "y": "integer"})
        made.add("it", python=f"{__name__}:{function}")
        self._agent: Agent = made.definition.agents["it"]
        context = WorkflowContext(made.definition, Path(), anyio.sleep)
        self._verb: Verb = place.prepare(self._agent, context)
        self.lines: list[str] = []
        self.logged = anyio.Event()

    async def run(self, x: int, y: int) -> Data:
        scope: dict[str, Data] = {"inputs": {"x": x, "y": y}, "needs": {}, "run": "r", "task": "1"}
        deadline = time.time() + LIMIT
        work = AttemptContext("r", "1", "it", 1, self._agent, scope, {}, self._log, lambda: None, deadline)
        result = await self._verb.run(work)
        return result.output if isinstance(result, VerbResult) else result

    def _log(self, text: str, level: str = "info") -> None:
        self.lines += str(text).splitlines()
        self.logged.set()

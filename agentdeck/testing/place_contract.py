"""The contract of places."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import anyio
import pytest

from agentdeck.agents.function_call import Context
from agentdeck.agents.verb import AttemptContext, Verb, VerbResult, WorkflowContext
from agentdeck.api.workflow import Workflow
from agentdeck.errors import StepError
from agentdeck.places.place import Place, Places, loaded
from agentdeck.testing.contract import LIMIT, Contract, assert_ends_when_cancelled
from agentdeck.workflow.model import Agent, Data

#: Attempts that run at once.
CROWD = 8


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
    """

    #: The name of the entry point.
    name: ClassVar[str]

    @pytest.fixture
    async def place(self) -> AsyncIterator[Place]:
        places = Places()
        yield places.find(self.name)
        await places.close()

    def test_the_place_is_installed(self) -> None:
        assert self.name in loaded().objects, [str(one) for one in loaded().broken]

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
    async def test_a_place_that_was_not_used_is_closed(self) -> None:
        places = Places()
        places.find(self.name)
        await places.close()


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

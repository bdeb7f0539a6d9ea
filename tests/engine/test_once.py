"""`once` with concurrent duplicates: a second step with the same key waits for the first and takes its result."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from agentdeck.engine.launch import Launch, Outcome, Watch, run
from agentdeck.engine.run_control import RunControl
from agentdeck.errors import StepError
from agentdeck.insight.why import explain
from agentdeck.scheduler import events as ev
from agentdeck.store.once import Holder, once_claim
from agentdeck.store.reader import Reader
from agentdeck.views.run_view import RunView
from agentdeck.workflow.loader import loads
from agentdeck.workflow.model import Data, Definition
from tests.observing import EventCollector

pytestmark = pytest.mark.anyio

PAY = """
agentdeck: 1
name: pay
inputs: { key: string }
agents:
  pay: { python: "shop:pay", once: "pay-${inputs.key}", retry: 1 }
"""


class Shop:
    """What is paid, and until when a payment takes."""

    def __init__(self) -> None:
        self.paid = 0
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.failures = 0

    async def pay(self) -> dict[str, int]:
        self.begun.set()
        await self.open.wait()
        if self.failures:
            self.failures -= 1
            raise StepError("rejected", "the card was refused")
        self.paid += 1
        return {"paid": self.paid}


class Case:
    """Runs of PAY in one store, or in memory, and what they recorded."""

    def __init__(self, db: Path | None) -> None:
        self.db = db
        self.shop = Shop()
        self.events: list[ev.Event] = []
        self.deferred = asyncio.Event()

    def see(self, event: ev.Event) -> None:
        self.events.append(event)
        if isinstance(event, ev.AttemptDeferred):
            self.loop.call_soon_threadsafe(self.deferred.set)

    async def run(
        self, *keys: str, text: str = PAY, workers: int = 4, control: RunControl | None = None
    ) -> Outcome:
        tasks = [{"key": key} for key in keys]
        definition: Definition = loads(text).definition
        functions: dict[str, Callable[..., object]] = dict.fromkeys(definition.agents, self.shop.pay)
        launch = Launch(definition, Path(), {}, tasks, workers, functions, self.db)
        self.loop = asyncio.get_running_loop()
        return await run(launch, Watch([EventCollector(self.see)], control=control))

    def outputs(self) -> list[Data]:
        return [event.output for event in self.events if isinstance(event, ev.StepSucceeded)]

    def of(self, kind: type[ev.Event]) -> list[ev.Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture(params=["disk", "memory"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return Case(tmp_path / "a.db" if request.param == "disk" else None)


async def test_two_tasks_with_one_key_pay_once(case: Case) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(case.run, "17", "17", "18")
        with anyio.fail_after(60):
            await case.deferred.wait()
            await anyio.sleep(0.02)  # a wait of less than half a millisecond has no reason of its own
            case.shop.open.set()
    assert case.shop.paid == 2
    assert sorted(map(str, case.outputs())) == ["{'paid': 1}", "{'paid': 1}", "{'paid': 2}"]
    assert not case.of(ev.AttemptFailed)
    again = next(e for e in case.events if isinstance(e, ev.StepStarted) and e.attempt == 2)
    assert again.waits is not None
    assert set(again.waits) >= {"held"}, "the time it waited counts for that"
    (held,) = case.of(ev.AttemptDeferred)
    assert isinstance(held, ev.AttemptDeferred)
    assert held.reason == "held"
    assert held.why.startswith("waits for once key pay-17, held by step pay of task 1 of run ")


async def test_a_step_that_waits_for_a_key_holds_no_worker(case: Case) -> None:
    """With one worker more than holders, twenty that wait let others go on."""
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: case.run(*["17"] * 2, *["18"] * 2, workers=2))
        with anyio.fail_after(60):
            while len(case.of(ev.AttemptDeferred)) < 1:  # noqa: ASYNC110
                await anyio.sleep(0.005)
            while not any(isinstance(e, ev.StepStarted) and e.task == "3" for e in case.events):  # noqa: ASYNC110
                await anyio.sleep(0.005)
            case.shop.open.set()
    assert case.shop.paid == 2
    assert len(case.outputs()) == 4


async def test_where_the_first_fails_without_effect_the_next_one_goes(case: Case) -> None:
    case.shop.failures = 1
    async with anyio.create_task_group() as group:
        group.start_soon(case.run, "17", "17", "17")
        with anyio.fail_after(60):
            while len(case.of(ev.AttemptDeferred)) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.005)
            case.shop.open.set()
    assert case.shop.paid == 1
    assert case.outputs() == [{"paid": 1}] * 2
    assert len(case.of(ev.StepFailed)) == 1


async def test_a_step_that_waits_for_a_key_can_be_cancelled(case: Case) -> None:
    control = RunControl("ada")

    async def scene() -> Outcome:
        return await case.run("17", "17", control=control)

    running = asyncio.create_task(scene())
    with anyio.fail_after(60):
        await case.deferred.wait()
        (held,) = case.of(ev.AttemptDeferred)
        assert isinstance(held, ev.AttemptDeferred)
        control.cancel(held.task)
        while not case.of(ev.StepCancelled):  # noqa: ASYNC110
            await anyio.sleep(0.005)
        case.shop.open.set()
        await running
    assert case.outputs() == [{"paid": 1}]


@pytest.mark.parametrize("clock", ["queue", "total"])
async def test_clocks_run_while_a_step_waits_for_a_key(case: Case, clock: str) -> None:
    text = PAY.replace("retry: 1", f"retry: 1, timeout: {{ {clock}: 200ms }}")
    first = asyncio.create_task(case.run("17"))
    with anyio.fail_after(60):
        await case.shop.begun.wait()
        if case.db is None:
            case.shop.open.set()
            await first
            return
        other = Case(case.db)
        other.shop = case.shop
        await other.run("17", text=text)
        case.shop.open.set()
        await first
    (failed,) = other.of(ev.StepFailed)
    assert isinstance(failed, ev.StepFailed)
    assert (failed.fault.kind, failed.fault.clock) == ("timeout", clock)


async def test_a_step_of_another_run_waits_too(tmp_path: Path) -> None:
    first, second = Case(tmp_path / "a.db"), Case(tmp_path / "a.db")
    second.shop = first.shop
    async with anyio.create_task_group() as group:
        with anyio.fail_after(60):
            group.start_soon(first.run, "17")
            await first.shop.begun.wait()
            group.start_soon(second.run, "17")
            await second.deferred.wait()
            first.shop.open.set()
    assert first.shop.paid == 1
    assert first.outputs() == second.outputs() == [{"paid": 1}]


OTHER = """
import sys
from pathlib import Path
import anyio
from agentdeck.engine.launch import Launch, run
from agentdeck.workflow.loader import load
anyio.run(lambda: run(Launch(load("w.yaml").definition, Path(), {"key": "17"}, db=Path("a.db"))))
"""


async def test_a_step_of_another_process_waits_too(tmp_path: Path) -> None:
    text = PAY.replace(
        'python: "shop:pay"', "command: [sh, -c, 'echo paid >> paid; until [ -e go ]; do sleep 0.02; done']"
    )
    (tmp_path / "w.yaml").write_text(text)
    call = [sys.executable, "-c", OTHER]
    processes = [subprocess.Popen(call, cwd=tmp_path) for _ in range(2)]  # noqa: ASYNC220
    reader = Reader(tmp_path / "a.db")
    with anyio.fail_after(30):
        while not any(  # noqa: ASYNC110
            isinstance(event, ev.AttemptDeferred) for row in reader.runs() for _, event in reader.events(row.run)
        ):
            await anyio.sleep(0.05)
        (tmp_path / "go").touch()
        for process in processes:
            assert await anyio.to_thread.run_sync(process.wait) == 0
    assert (tmp_path / "paid").read_text() == "paid\n"
    assert [row.state for row in reader.runs()] == ["done", "done"]
    reader.close()


async def test_why_says_which_step_holds_the_key(case: Case) -> None:
    """To `why` and the console."""
    definition = loads(PAY).definition
    async with anyio.create_task_group() as group:
        with anyio.fail_after(60):
            group.start_soon(case.run, "17", "17")
            await case.deferred.wait()
            view = RunView(definition)
            for seq, event in enumerate(case.events, 1):
                view.apply(seq, event)
            (held,) = case.of(ev.AttemptDeferred)
            assert isinstance(held, ev.AttemptDeferred)
            found = explain(view, definition, held.task, "pay", held.at + 1)
            case.shop.open.set()
    assert (found.state, found.reason) == ("ready", "held")
    assert "waits for once key pay-17, held by step pay of task" in found.text
    assert view.agents["pay"].attempts == 1, "the deferred attempt is none"


async def test_an_attempt_that_was_cancelled_leaves_it_open_whether_it_took_effect(case: Case) -> None:
    text = PAY.replace("retry: 1", "retry: 1, timeout: 200ms")
    with anyio.fail_after(60):
        await case.run("17", "17", text=text)
    first, second = case.of(ev.StepFailed)
    assert isinstance(first, ev.StepFailed)
    assert isinstance(second, ev.StepFailed)
    assert (first.fault.kind, second.fault.kind) == ("timeout", "unknown")
    assert second.fault.once_key == "pay-17"
    assert "it may have taken effect" in second.fault.message
    assert "python: shop:pay" in second.fault.detail


def test_claims_of_the_first_version_are_unknown(tmp_path: Path) -> None:
    from agentdeck.store.schema import open_for_writing

    connection: sqlite3.Connection = open_for_writing(tmp_path / "a.db")
    connection.execute("INSERT INTO once (key, state, run, step, at) VALUES ('k', 'intent', 'r', '1/s', 5.0)")
    claim = once_claim(connection, "k", Holder("q", "1/s", 1, "me"), 9.0)
    connection.close()
    assert claim.state == "unknown"
    assert claim.holder == Holder("r", "1/s")

"""The contract of observers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import ClassVar

import anyio
import pytest

from agentdeck import plugins
from agentdeck.api.workflow import Workflow
from agentdeck.engine.observers import EventBatch, Observer, ObserverContext, loaded
from agentdeck.errors import AgentdeckError
from agentdeck.scheduler.events import Event
from agentdeck.store.reader import Reader
from agentdeck.testing.contract import LIMIT, Contract

#: Tasks of the run that is observed; one of them fails.
TASKS = 6


class ObserverContract(Contract):
    """Subclass it in a test module, set `name`, and configure the observer in the fixture `configured`, so that
    its function returns one:

        class TestLetters(ObserverContract):
            name = "letters"

            @pytest.fixture(autouse=True)
            def configured(self, tmp_path, monkeypatch):
                monkeypatch.setenv("ACME_LETTERS", str(tmp_path / "letters.txt"))
    """

    #: The name of the entry point.
    name: ClassVar[str]

    @pytest.fixture
    async def recorded(self, tmp_path: Path) -> Recorded:
        """A run that has ended, in a store."""
        made = Workflow("observed", inputs={"n": "integer"})
        made.add("half", simulate={"takes": "1ms", "returns": "${60 // inputs.n}"})
        made.add("again", simulate="1ms", needs="half", retry=1)
        db = tmp_path / "observed.db"
        result = await made.run(tasks=[{"n": n} for n in range(TASKS)], db=db, check=False)
        return Recorded(made, db, result.run)

    def test_the_observer_is_installed(self) -> None:
        assert self.name in plugins.names("observers")
        assert self.name in loaded().objects, [str(one) for one in loaded().broken]

    @pytest.mark.anyio
    @pytest.mark.parametrize("size", [5, 10_000])
    async def test_it_takes_a_run_in_batches_of_any_size(self, recorded: Recorded, size: int) -> None:
        self._observe(recorded, 1, size)

    @pytest.mark.anyio
    async def test_it_takes_the_rest_of_a_run_that_is_resumed(self, recorded: Recorded) -> None:
        self._observe(recorded, len(recorded.events) // 2, 5)

    @pytest.mark.anyio
    async def test_it_takes_a_run_without_a_store_of_which_it_missed_a_part(self, recorded: Recorded) -> None:
        events = recorded.events
        batches = [EventBatch(recorded.run, 1, events[:3]), EventBatch(recorded.run, 9, events[8:], missed=5)]
        self._pass_on(ObserverContext(recorded.run, recorded.workflow.definition, None, 1), batches)

    @pytest.mark.anyio
    async def test_it_is_closed_without_having_seen_anything(self, recorded: Recorded) -> None:
        self._pass_on(ObserverContext(recorded.run, recorded.workflow.definition, recorded.db, 1), [])

    @pytest.mark.anyio
    async def test_a_run_with_it_ends_as_without_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        made = Workflow("observed")
        made.add("a", simulate={"takes": "1ms", "returns": 7})
        with anyio.fail_after(LIMIT):
            result = await made.run()
        assert (result.state, result.steps["a"].output) == ("done", 7)
        assert not capsys.readouterr().out, "stdout is the data of `agentdeck run`"

    def _observe(self, recorded: Recorded, first: int, size: int) -> None:
        context = ObserverContext(recorded.run, recorded.workflow.definition, recorded.db, first)
        events = recorded.events
        batches = [
            EventBatch(recorded.run, at, events[at - 1 : at - 1 + size])
            for at in range(first, len(events) + 1, size)
        ]
        self._pass_on(context, batches)

    def _pass_on(self, context: ObserverContext, batches: Sequence[EventBatch]) -> None:
        """Has an observer take the batches in a thread of its own, as a run does. Where it missed events, `close`
        may raise an AgentdeckError that says what is missing; the operator sees its message."""
        expected = suppress(AgentdeckError) if any(batch.missed for batch in batches) else nullcontext()

        def run() -> None:
            observer: Observer | None = loaded().objects[self.name](context)
            assert observer is not None, "configure it, so that it observes: see `configured`"
            for batch in batches:
                observer.observe(batch)
            with expected:
                observer.close()

        _in_thread(run)


class Recorded:
    """A run in a store."""

    def __init__(self, workflow: Workflow, db: Path, run: str) -> None:
        self.workflow = workflow
        self.db = db
        self.run = run
        reader = Reader(db)
        try:
            self.events: list[Event] = [event for _, event in reader.events(run)]
        finally:
            reader.close()


def _in_thread(call: Callable[[], None]) -> None:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="observer", daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive(), f"the observer has not taken its batches within {LIMIT:g} s"
    if raised:
        raise raised[0]

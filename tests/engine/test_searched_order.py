"""A launch searches an order where earlier runs say that there is a faster one, and the log has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from agentdeck.agents.simulate import Simulate
from agentdeck.engine.launch import Launch, Watch, run
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.store.runs import save_durations
from agentdeck.store.writer import Writer
from agentdeck.workflow.model import Data, Definition
from tests.observing import EventCollector
from tests.scheduler.test_order_search import samples, workflow

pytestmark = pytest.mark.anyio


def store(folder: Path, seen: Mapping[str, Sequence[float]]) -> Path:
    """A store in which agents of the workflow have taken so long."""
    log = Writer(folder / "a.db", lambda run, seq: None, lambda error: None)
    log.call(lambda connection: save_durations(connection, "w", str(folder.resolve()), seen)).result(10)
    log.close(10)
    return folder / "a.db"


async def launched(
    folder: Path, db: Path | None, tasks: list[Mapping[str, Data]] | None = None
) -> tuple[ev.RunStarted, list[str]]:
    """The first event of a run with two workers, and its steps as they started."""
    agents = {name: replace(agent, does=Simulate(0.0)) for name, agent in workflow().agents.items()}
    seen = EventCollector()
    launch = Launch(Definition("w", agents), folder, {}, tasks, 2, db=db)
    outcome = await run(launch, Watch([seen]))
    assert outcome.state == "done"
    first = seen.events[0]
    assert isinstance(first, ev.RunStarted)
    if db is not None:
        reader = Reader(db)
        assert next(reader.events(outcome.run)) == (1, first)
        reader.close()
    return first, [event.step for event in seen.events if isinstance(event, ev.StepStarted)]


async def test_a_faster_order_is_searched_recorded_and_kept_to(tmp_path: Path) -> None:
    first, started = await launched(tmp_path, store(tmp_path, samples()))
    assert sorted(first.order) == list("abcdef")
    assert set(first.order[:2]) == {"a", "b"} == set(started[:2]), "the longest paths are those of b and d"


async def test_no_order_is_searched_without_steady_durations_or_for_many_tasks(tmp_path: Path) -> None:
    db = store(tmp_path, samples())
    for first, started in (await launched(tmp_path, None), await launched(tmp_path, db, [{}, {}])):
        assert first.order == ()
        assert len(started) in (6, 12)
    varied = {name: [taken / 2, taken, taken * 2] for name, (taken, *_) in samples().items()}
    first, started = await launched(tmp_path, store(tmp_path, varied))
    assert first.order == ()
    assert started[:2] == ["b", "d"]

"""Observers: every committed event in order and once, whatever the observers do, and never a step that waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from agentdeck.engine.launch import Launch, Outcome, Watch, run
from agentdeck.engine.observers import Observer, ObserverFactory
from agentdeck.engine.reopened_steps import ReopenRequest
from agentdeck.engine.resume import Resume, resume
from agentdeck.engine.run_control import RunControl
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Data
from tests.observing import EventCollector

pytestmark = pytest.mark.anyio

FAULTY = """
agentdeck: 1
name: faulty
defaults: { retry: { attempts: 2, delay: 1ms } }
agents:
  list: { simulate: { returns: [3, 1, 2] } }
  each: { each: list, simulate: { takes: 1ms, jitter: 90%, fails: 20% } }
  sub: { needs: list, workflow: inner.yaml }
  end: { needs: [each, sub], simulate: 1ms }
"""
INNER = """
agentdeck: 1
name: inner
agents: { a: { simulate: { takes: 1ms, fails: 20% } }, b: { needs: a, simulate: 1ms } }
"""
TASKS: list[Mapping[str, Data]] = [{} for _ in range(40)]


@pytest.fixture(params=["disk", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "deck.db" if request.param == "disk" else None


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, ObserverFactory]:
    """The observers of plugins, by name: as if each had an entry point."""
    found: dict[str, ObserverFactory] = {}
    monkeypatch.setattr("agentdeck.engine.launch.factories", lambda warn: found)
    return found


@pytest.fixture(autouse=True)
def _threads_end_with_the_run() -> Any:
    yield
    assert alive() == []


def alive() -> list[str]:
    """The threads of observers that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("agentdeck-observer-")]


async def launched(
    folder: Path,
    text: str,
    *watching: Observer,
    db: Path | None = None,
    tasks: Sequence[Mapping[str, Data]] = TASKS,
    warned: Callable[[str], None] | None = None,
    control: RunControl | None = None,
) -> Outcome:
    (folder / "inner.yaml").write_text(INNER)
    (folder / "w.yaml").write_text(text)
    launch = Launch(load(folder / "w.yaml").definition, folder, tasks=tasks, workers=8, db=db)
    return await run(launch, Watch(watching, control=control, warn=warned))


def stored(db: Path, run: str) -> list[tuple[int, ev.Event]]:
    reader = Reader(db)
    found = list(reader.events(run))
    reader.close()
    return found


# Every event, in order and once ----------------------------------------------------------------------------


async def test_every_event_comes_once_and_in_order(tmp_path: Path, db: Path | None) -> None:
    """With retries, items and nested workflows."""
    one, other = EventCollector(), EventCollector()
    outcome = await launched(tmp_path, FAULTY, one, other, db=db)
    assert [seq for seq, _ in one.numbered] == list(range(1, outcome.view.seq + 1))
    assert one.numbered == other.numbered
    assert {batch.run for batch in one.batches} == {outcome.run}
    assert any(isinstance(event, ev.TaskOpened) and event.parent for event in one.events)
    assert any(isinstance(event, ev.AttemptFailed) for event in one.events)
    assert one.closed
    assert other.closed
    if db is not None:
        assert one.numbered == stored(db, outcome.run)


async def test_a_resumed_run_goes_on_with_the_next_number(tmp_path: Path) -> None:
    control, first, second = RunControl("ada"), EventCollector(), EventCollector()

    def drain(event: ev.Event) -> None:
        if isinstance(event, ev.TaskEnded):
            control.drain()

    db = tmp_path / "deck.db"
    outcome = await launched(tmp_path, FAULTY, first, EventCollector(drain), db=db, control=control)
    assert outcome.state == "drained"
    resumed = await resume(Resume(outcome.run, db), Watch([second]))
    assert resumed.state in ("done", "failed")
    assert first.numbered + second.numbered == stored(db, outcome.run)


async def test_steps_that_are_reopened_are_in_it(tmp_path: Path) -> None:
    db, third = tmp_path / "deck.db", EventCollector()
    text = "agentdeck: 1\nname: w\ninputs: { n: integer }\n"
    text += "agents: { a: { command: [test, '${inputs.n}', -gt, '1'] } }"
    outcome = await launched(tmp_path, text, db=db, tasks=[{"n": 1}, {"n": 2}])
    assert outcome.state == "failed"
    before = outcome.view.seq
    again = ReopenRequest([("1", "a")], {"n": 3})
    resumed = await resume(Resume(outcome.run, db), Watch([third]), again)
    assert resumed.state == "done"
    assert third.batches[0].first == before + 1
    assert [event.step for event in third.events if isinstance(event, ev.StepReopened)] == ["a"]
    assert third.numbered == stored(db, outcome.run)[before:]

"""Observers: every committed event in order and once, whatever the observers do, and never a step that waits."""

from __future__ import annotations

import asyncio
import importlib
import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from agentdeck.engine import observer_feed
from agentdeck.engine.launch import Launch, Outcome, Watch, run
from agentdeck.engine.observer_feed import ObserverFeed
from agentdeck.engine.observers import EventBatch, Observer, ObserverContext, ObserverFactory
from agentdeck.engine.reopened_steps import ReopenRequest
from agentdeck.engine.resume import Resume, resume
from agentdeck.engine.run_control import RunControl
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.store.writer import Writer
from agentdeck.workflow.loader import load, loads
from agentdeck.workflow.model import Data
from tests.observing import EventCollector
from tests.plugin_packages import installed as plugins_installed
from tests.plugin_packages import write_package
from tests.store.open_connections import assert_all_closed
from tests.virtual_clock import LoopClock, virtual
from tests.waiting import until

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
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
PLAIN = """
agentdeck: 1
name: plain
agents: { a: { simulate: 20s }, b: { needs: a, simulate: 10s } }
"""
TASKS: list[Mapping[str, Data]] = [{} for _ in range(15)]


@pytest.fixture(params=["disk", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "deck.db" if request.param == "disk" else None


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, ObserverFactory]:
    """The observers of plugins, by name: as if each had an entry point."""
    found: dict[str, ObserverFactory] = {}
    monkeypatch.setattr("agentdeck.engine.execution.factories", lambda warn: found)
    return found


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events waited for an observer, after each that was published."""
    found: list[int] = []
    publish = observer_feed.Subscription.publish

    def counted(subscription: observer_feed.Subscription, batch: EventBatch) -> None:
        publish(subscription, batch)
        found.append(subscription.waiting)

    monkeypatch.setattr(observer_feed.Subscription, "publish", counted)
    return found


@pytest.fixture(autouse=True)
def _threads_end_with_the_run() -> Iterator[None]:
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


def played(folder: Path, *watching: Observer) -> Outcome:
    """A run on virtual time, without a store."""
    launch = Launch(loads(PLAIN).definition, folder, tasks=TASKS, workers=3)
    return anyio.run(lambda: run(launch, Watch(watching), LoopClock()), backend_options=virtual())


def when(kind: type, call: Callable[[], object]) -> Callable[[ev.Event], object]:
    """A function that makes the call for each event of this kind."""
    return lambda event: call() if isinstance(event, kind) else None


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
    drain = when(ev.TaskEnded, control.drain)
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


async def test_what_is_observed_is_on_disk(tmp_path: Path) -> None:
    reader, early = Reader(tmp_path / "deck.db"), list[ev.Event]()

    def see(event: ev.Event) -> None:
        (row,) = reader.runs()
        early.extend([] if event in [one for _, one in reader.events(row.run)] else [event])

    collector = EventCollector(see)
    outcome = await launched(tmp_path, FAULTY, collector, db=tmp_path / "deck.db", tasks=TASKS[:3])
    assert len(collector.events) == outcome.view.seq
    assert early == []
    reader.close()


def test_what_is_not_committed_is_never_observed(tmp_path: Path) -> None:
    collector = EventCollector()
    feed = fed(tmp_path / "deck.db", collector)
    feed.hand_over(1, notes(3))
    feed.hand_over(4, notes(2))
    feed.committed(3)
    feed.close()
    assert [seq for seq, _ in collector.numbered] == [1, 2, 3]
    assert collector.closed


# Slow observers ---------------------------------------------------------------------------------------------


async def test_a_blocked_observer_delays_no_step_and_gets_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queued: list[int]
) -> None:
    """It is blocked until the run has ended: a step that waited for it would never end."""
    monkeypatch.setattr(observer_feed, "BOUND", 30)
    ended, db = threading.Event(), tmp_path / "deck.db"
    blocked = EventCollector(lambda event: ended.wait(30))
    outcome = await launched(tmp_path, FAULTY, blocked, EventCollector(when(ev.RunEnded, ended.set)), db=db)
    assert ended.is_set()
    assert outcome.view.seq > 10 * 30
    assert blocked.numbered == stored(db, outcome.run)
    assert max(queued) <= 30
    assert_all_closed(db)


def test_without_a_store_the_oldest_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch, queued: list[int]
) -> None:
    monkeypatch.setattr(observer_feed, "BOUND", 25)
    entered, release, batches = threading.Event(), threading.Event(), list[EventBatch]()

    class Blocked:
        def observe(self, batch: EventBatch) -> None:
            batches.append(batch)
            entered.set()
            release.wait(30)

        def close(self) -> None:
            """Nothing to release."""

    feed = fed(None, Blocked())
    feed.hand_over(1, notes(1))
    entered.wait(30)
    for first in range(2, 72, 10):
        feed.hand_over(first, notes(10, first))
    release.set()
    feed.close()
    assert batches == [EventBatch("r", 1, notes(1)), EventBatch("r", 47, notes(25, 47), missed=45)]
    assert max(queued) == 25


def test_the_clock_of_a_run_goes_on_while_an_observer_is_blocked(tmp_path: Path) -> None:
    ended, alone = threading.Event(), EventCollector()
    beside = EventCollector(when(ev.RunEnded, ended.set))
    blocked = EventCollector(lambda event: ended.wait(30))
    for watching in ([alone], [blocked, beside]):
        played(tmp_path, *watching)
    assert [event.at for event in beside.events] == [event.at for event in alone.events]
    assert blocked.numbered == beside.numbered


# Observers that fail, and those of plugins ------------------------------------------------------------------


class Failing:
    """Raises at the first batch."""

    def __init__(self) -> None:
        self.calls = 0
        self.closed = 0

    def observe(self, batch: EventBatch) -> None:
        self.calls += 1
        raise ValueError("no more [/] of this")

    def close(self) -> None:
        self.closed += 1
        raise OSError("nor this")


async def test_an_observer_that_raises_is_left_out_and_named_once(
    tmp_path: Path, db: Path | None, installed: dict[str, ObserverFactory]
) -> None:
    failing, good, warned = Failing(), EventCollector(), list[str]()
    installed["acme"] = lambda context: failing
    installed["exits"] = lambda context: sys.exit(3)
    installed["absent"] = lambda context: None
    outcome = await launched(tmp_path, FAULTY, good, db=db, warned=warned.append)
    assert len(good.events) == outcome.view.seq
    assert (failing.calls, failing.closed) == (1, 1)
    assert sorted(warned) == [
        "observer acme failed and is left out of this run: ValueError: no more [/] of this",
        "observer acme failed while it was closed: OSError: nor this",
        "observer exits failed and is left out of this run: SystemExit: 3",
    ]


async def test_without_anybody_to_report_to_it_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await launched(tmp_path, FAULTY, Failing(), tasks=TASKS[:1])
    assert "observer Failing failed and is left out of this run: ValueError" in caplog.text


async def test_a_plugin_that_does_not_end_is_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: dict[str, ObserverFactory]
) -> None:
    monkeypatch.setattr(observer_feed, "PATIENCE", 0.05)
    release, good, warned = threading.Event(), EventCollector(), list[str]()
    stuck = EventCollector(lambda event: release.wait(30))
    installed["stuck"] = lambda context: stuck
    outcome = await launched(tmp_path, FAULTY, good, db=tmp_path / "deck.db", warned=warned.append)
    assert len(good.events) == outcome.view.seq
    (text,) = warned
    assert text.startswith("observer stuck was still busy 0.05 s after the end of the run: it has not taken ")
    assert text.endswith(f" {outcome.view.seq:,} events")
    release.set()
    until(lambda: not alive())
    assert len(stuck.batches) == 1, "it gets nothing more"
    assert stuck.closed


async def test_an_observer_of_the_launch_is_waited_for_by_name_until_the_run_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer_feed, "PATIENCE", 0.05)
    release, warned = threading.Event(), list[str]()
    stuck, db = EventCollector(lambda event: release.wait(30)), tmp_path / "deck.db"
    launched_run = asyncio.create_task(launched(tmp_path, FAULTY, stuck, db=db, warned=warned.append))
    await asyncio.to_thread(until, lambda: bool(warned))
    assert re.fullmatch(
        r"\w+ is over and waits for EventCollector: in 0.05 s it has not taken the last \d+ events", warned[0]
    )
    assert not launched_run.done(), "its data is essential"
    launched_run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launched_run
    release.set()
    until(lambda: not alive())
    assert stuck.closed
    assert len(warned) == 1


async def test_a_plugins_observer_knows_the_run_it_is_made_for(
    tmp_path: Path, installed: dict[str, ObserverFactory]
) -> None:
    contexts, threads, db = list[ObserverContext](), list[str](), tmp_path / "deck.db"

    def make(context: ObserverContext) -> Observer:
        contexts.append(context)
        threads.append(threading.current_thread().name)
        return EventCollector()

    installed["acme"] = make
    text = "agentdeck: 1\nname: w\nagents: { a: { command: ['false'] } }\n"
    outcome = await launched(tmp_path, text, db=db, tasks=[{}])
    await resume(Resume(outcome.run, db), again=ReopenRequest([("1", "a")]))
    first, second = contexts
    assert (first.run, first.db, first.first, first.definition.name) == (outcome.run, db, 1, "w")
    assert second == replace(first, first=outcome.view.seq + 1)
    assert set(threads) == {"agentdeck-observer-acme"}


async def test_observers_are_found_through_their_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = {"seen": "acme_observers:make", "broken": "acme_observers:none", "number": "acme_observers:MADE"}
    module = "from tests.observing import EventCollector\nMADE = []\n"
    module += "def make(context):\n    MADE.append(EventCollector())\n    return MADE[-1]\n"
    write_package(tmp_path / "site", "acme", {"observers": targets}, {"acme_observers": module})
    warned: list[str] = []
    with plugins_installed(tmp_path / "site", monkeypatch):
        outcome = await launched(tmp_path, FAULTY, tasks=TASKS[:1], warned=warned.append)
        await launched(tmp_path, FAULTY, tasks=TASKS[:1], warned=warned.append)
        made = importlib.import_module("acme_observers").MADE
    assert [len(made), len(made[0].events)] == [2, outcome.view.seq]
    left_out = "does not load and is left out"
    assert [text.partition(":")[0] for text in warned] == [
        f"observer broken of package acme {left_out}",
        f"observer number of package acme {left_out}",
    ]


STUCK = """
import asyncio, threading
from agentdeck import Workflow
from agentdeck.engine import observer_feed
observer_feed.PATIENCE = 0.1
wf = Workflow("short")
wf.add("a", simulate="1ms")
print(asyncio.run(wf.run()).state)
"""


def test_a_process_ends_while_an_observer_of_a_plugin_is_blocked(tmp_path: Path) -> None:
    module = """
        import threading
        class Stuck:
            def observe(self, batch):
                threading.Event().wait()
            def close(self):
                pass
        make = lambda context: Stuck()
    """
    write_package(tmp_path, "acme", {"observers": {"stuck": "acme_stuck:make"}}, {"acme_stuck": module})
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", STUCK], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert "observer stuck was still busy 0.1 s after the end of the run: it has not taken " in done.stderr


async def test_the_example_of_the_documentation_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "plugins.md").read_text()
    (shown,) = [
        block for block in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S) if "LetterLog" in block
    ]
    write_package(tmp_path / "site", "acme", {"observers": {"letters": "acme_letters:log_letters"}}, {})
    (tmp_path / "site" / "acme_letters.py").write_text(shown)
    letters = tmp_path / "letters.txt"
    monkeypatch.setenv("ACME_LETTERS", str(letters))
    with plugins_installed(tmp_path / "site", monkeypatch):
        fails = "agentdeck: 1\nname: w\nagents: { a: { simulate: { takes: 1ms, fails: 100% }, retry: 1 } }\n"
        outcome = await launched(tmp_path, fails, tasks=[{}, {}], warned=pytest.fail)
    lines = sorted(line.split("#")[0] for line in letters.read_text().splitlines())
    assert lines == [f"w {outcome.run}"] * 2
    assert "a of task 2: " in letters.read_text()


# The feed and the queue of one observer ---------------------------------------------------------------------


def fed(db: Path | None, *watching: Observer, first: int = 1) -> ObserverFeed:
    feed = ObserverFeed(ObserverContext("r", loads(PLAIN).definition, db, first), pytest.fail)
    for observer in watching:
        feed.add(observer)
    return feed


def notes(number: int, start: int = 1) -> list[ev.Event]:
    return [ev.Noted(float(n), str(n)) for n in range(start, start + number)]


def test_the_store_is_read_up_to_what_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later events are on disk already, and come through the queue."""
    monkeypatch.setattr(observer_feed, "BOUND", 20)
    release, collector, db = (
        threading.Event(),
        EventCollector(lambda event: release.wait(30)),
        tmp_path / "deck.db",
    )
    writer = Writer(db)
    writer.append("r", 1, notes(60))
    writer.close()
    feed = fed(db, collector)
    for first in range(1, 51, 10):
        feed.hand_over(first, notes(10, first))
    feed.committed(30)
    release.set()
    until(lambda: len(collector.events) == 30)
    feed.committed(50)
    feed.close()
    assert collector.numbered == list(enumerate(notes(50), 1))


@pytest.mark.parametrize("seed", range(10))
def test_every_way_of_falling_behind_ends_with_all_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queued: list[int], seed: int
) -> None:
    """The observer is blocked and released at random, so it goes from the queue to the store and back."""
    monkeypatch.setattr(observer_feed, "BOUND", 20)
    monkeypatch.setattr(observer_feed, "PAUSE", 0.0)
    rng, turns = random.Random(seed), threading.Semaphore(0)
    collector = EventCollector()

    class Slow:
        def observe(self, batch: EventBatch) -> None:
            turns.acquire(timeout=10)
            collector.observe(batch)

        def close(self) -> None:
            collector.close()

    db = tmp_path / "deck.db"
    committed = threading.Semaphore(0)

    def on_commit(run: str, seq: int) -> None:
        feed.committed(seq)
        committed.release()

    feed = fed(db, Slow(), first=4)
    writer = Writer(db, on_commit)
    writer.append("r", 1, notes(3))
    committed.acquire(timeout=10)
    first = 4
    while first < 400:
        some = notes(rng.randint(1, 12), first)
        feed.hand_over(first, some)
        writer.append("r", first, some)
        first += len(some)
        committed.acquire(timeout=10)
        if rng.random() < 0.6:
            turns.release()
    turns.release(400)
    writer.close()
    feed.close()
    assert collector.numbered == stored(db, "r")[3:]
    assert max(queued) <= 20

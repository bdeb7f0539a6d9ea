"""Pruning deletes what it says and nothing else, and gives the space back, beside processes that write."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from pathlib import Path
from socket import gethostname

import pytest

from agentdeck.errors import Fault
from agentdeck.processes.identity import start_of, this_machine
from agentdeck.scheduler import events as ev
from agentdeck.store.letters import Letter, add_letter
from agentdeck.store.once import Holder, cache_put, once_claim, once_done
from agentdeck.store.prune import prunable_runs, prune
from agentdeck.store.reader import Reader
from agentdeck.store.runs import Counts, NewRun, Owner, create_run, end_run
from agentdeck.store.schema import open_for_writing
from agentdeck.store.tasks import add_blocks, block_of, lines_after
from agentdeck.store.writer import Writer

NOW = 1_789_000_000.0
DAY = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deck.db"


def fill(
    path: Path, run: str, days: float, *, state: str = "done", owner: Owner | None = None, own: str = ""
) -> None:
    """A run that began so many days ago, with ten results of its own and one that all runs share."""
    new = NewRun(run, "order", "i" * 64, NOW - days * DAY)
    writer = Writer(path)
    until = NOW + 60 if owner and owner.name != "late" else NOW - 600
    writer.call(lambda db: create_run(db, new, owner, until)).result(5)
    events: list[ev.Event] = [ev.TaskOpened(new.started, "1", {"text": "shared" * 500})]
    events += [
        ev.StepSucceeded(new.started + n, "1", f"s{n}", 1, {"text": f"{run}{own}{n}" * 400}) for n in range(10)
    ]
    writer.append(run, 1, events)
    writer.log(run, [(new.started, "1", "s1", 1, "info", "line")] * 20)
    if state != "running":
        writer.call(lambda db: end_run(db, run, state, new.started + 60, Counts(1, 1))).result(5)
    writer.close()


def parent() -> Owner:
    """A process that lives, and has not renewed its lease for long."""
    return Owner("late", os.getppid(), gethostname(), this_machine(), start_of(os.getppid()))


def count(path: Path, table: str, where: str = "1") -> int:
    connection = sqlite3.connect(path)
    number: int = connection.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0]
    connection.close()
    return number


def whole(path: Path) -> None:
    """Every result that is pointed to is there, and the file is sound."""
    connection = sqlite3.connect(path)
    for table, column in (("events", "result"), ("letters", "inputs"), ("once", "result"), ("cache", "result")):
        sql = f"SELECT count(*) FROM {table} WHERE {column} NOT IN (SELECT hash FROM results)"
        assert connection.execute(sql).fetchone() == (0,), table
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def choose(path: Path, *, days: float | None = None, keep: int = 0) -> list[str]:
    connection = open_for_writing(path)
    found = prunable_runs(connection, before=None if days is None else NOW - days * DAY, keep=keep, now=NOW)
    connection.close()
    return [one.run for one in found]


def test_who_may_go(path: Path) -> None:
    gone = 2**22 - 3
    fill(path, "a", 90)
    fill(path, "b", 60, state="failed")
    fill(path, "held", 50, state="running", owner=Owner("held", gone, "elsewhere"))
    fill(path, "full", 50, state="running", owner=parent())
    fill(path, "dead", 40, state="running", owner=Owner("late", gone, gethostname()))
    fill(path, "c", 10)
    fill(path, "d", 1)
    assert choose(path, days=30) == ["a", "b", "dead"], "held ones never; nor one whose process lives unleased"
    assert choose(path, days=30, keep=6) == ["a"]
    assert choose(path, keep=1) == ["a", "b", "c"], "what could be resumed goes by its age only"
    assert choose(path, days=45) == ["a", "b"]
    assert choose(path, keep=100) == []


def test_what_belongs_to_it_goes_and_nothing_else(path: Path) -> None:
    fill(path, "a", 90)
    fill(path, "b", 60)
    fill(path, "c", 1)
    writer = Writer(path)
    letter = Letter("a", "1", "s1", "s1", "i" * 64, Fault("exit", "x"), {"only": "letter" * 200}, 3, NOW)
    writer.call(lambda db: add_letter(db, letter))
    writer.call(lambda db: once_claim(db, "k", Holder("a", "1/s1"), NOW))
    writer.call(lambda db: once_done(db, "k", "once" * 300))
    writer.call(lambda db: cache_put(db, "new", "fresh" * 300, NOW - 9, 500.0))
    writer.call(lambda db: cache_put(db, "old", "expired" * 300, NOW - 9, 5.0)).result(5)
    writer.close()
    whole(path)
    size = path.stat().st_size
    gone = prune(path, ["a", "b"], NOW)
    assert (gone.runs, gone.events, gone.logs, gone.letters, gone.cached) == (2, 22, 40, 1, 1)
    assert gone.results == 22, "twenty outputs, a letter's inputs, an expired one; not what c shares"
    assert gone.freed > 0
    assert path.stat().st_size == size - gone.freed
    assert gone.left < 100_000
    assert [row.run for row in Reader(path).runs()] == ["c"]
    assert count(path, "events", "run <> 'c'") == count(path, "logs", "run <> 'c'") == 0
    assert count(path, "events") == 11
    assert count(path, "once") == 1, "what happened once stays so for good"
    whole(path)
    assert prune(path, [], NOW).results == 0


def test_definitions_stay_that_a_run_or_its_sub_workflows_need(path: Path) -> None:
    fill(path, "old", 90)
    connection = open_for_writing(path)
    for identity in ("i" * 64, "nested", "nobody's"):
        connection.execute("INSERT INTO definitions VALUES (?, '{}')", (identity,))
    options = {"workers": 4, "nested": {"review": "nested"}}
    create_run(connection, NewRun("new", "order", "i" * 64, NOW, options=options))
    connection.close()
    assert prune(path, ["old"], NOW).definitions == 1
    assert count(path, "definitions", "identity IN ('" + "i" * 64 + "', 'nested')") == 2


def test_what_a_killed_prune_left_is_found(path: Path) -> None:
    fill(path, "a", 90)
    fill(path, "c", 1)
    connection = open_for_writing(path)
    connection.execute("DELETE FROM runs WHERE run = 'a'")
    connection.close()
    gone = prune(path, [], NOW)
    assert (gone.runs, gone.events, gone.logs, gone.results) == (0, 11, 20, 10)
    whole(path)


def test_a_run_that_is_taken_up_meanwhile_stays(path: Path) -> None:
    fill(path, "a", 90, state="running", owner=Owner("late", 2**22 - 3, "elsewhere"))
    assert choose(path, days=30) == ["a"]
    connection = open_for_writing(path)
    connection.execute("UPDATE runs SET lease_until = ?", (NOW + 60,))
    connection.close()
    assert prune(path, ["a"], NOW).runs == 0
    assert count(path, "events") == 11


def test_a_writer_beside_it_neither_waits_nor_loses_anything(path: Path) -> None:
    """The writer's results are those that are being deleted: each one it points to must be there at the end."""
    for number in range(12):
        fill(path, f"old{number:02}", 90, own="same")
    writer = Writer(path)
    owner = Owner("w", os.getpid(), gethostname())
    writer.call(
        lambda db: create_run(db, NewRun("live", "order", "i" * 64, time.time()), owner, time.time() + 99)
    )
    beside, stop = 0, threading.Event()
    done: list[object] = []

    def deleting() -> None:
        done.append(prune(path, [f"old{number:02}" for number in range(12)], time.time()))
        stop.set()

    thread = threading.Thread(target=deleting)
    thread.start()
    seq = 1
    while not stop.is_set() or seq < 100:
        old_text = f"old{seq % 12:02}same{seq % 10}" * 400
        writer.append("live", seq, [ev.StepSucceeded(NOW, "1", f"s{seq}", 1, {"text": old_text})])
        writer.flush(5)
        beside += not stop.is_set()
        seq += 1
    thread.join()
    writer.close()
    assert done
    whole(path)
    assert count(path, "events") == seq - 1
    assert beside > 3, "it got its turn while the other one deleted"


def test_lists_of_tasks_go_with_their_runs_and_shared_blocks_with_the_last_one(path: Path) -> None:
    """A list without a run may be of one that is being launched: it stays until it is old."""
    for days, run in enumerate(("a", "b"), 1):
        fill(path, run, days)
    writer = Writer(path)
    shared = [json.dumps({"n": n}).encode() for n in range(100)]
    for run in ("a", "b", "launching", "left"):
        own = [json.dumps({"run": run}).encode()]
        blocks = [block_of(1, shared), block_of(101, own)]
        writer.call(lambda db, run=run, blocks=blocks: add_blocks(db, run, blocks)).result(5)  # type: ignore[misc]
    writer.call(lambda db: db.execute("UPDATE run_tasks SET at = at - 7200 WHERE run = 'left'")).result(5)
    writer.close()
    assert prune(path, ["a"], time.time()).task_blocks == 2
    assert count(path, "run_tasks", "run IN ('a', 'left')") == 0
    assert count(path, "run_tasks", "run IN ('b', 'launching')") == 4
    assert count(path, "task_blocks") == 3, "what they share, and one each"
    reader = Reader(path)
    assert len(lines_after(reader, "b", 0)) + len(lines_after(reader, "b", 100)) == 101
    reader.close()
    assert prune(path, ["b"], time.time() + 7200).task_blocks == 3
    assert count(path, "task_blocks") == count(path, "run_tasks") == 0

"""What can be asked of recorded runs."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agentdeck.agents.python import Python
from agentdeck.agents.simulate import Simulate
from agentdeck.errors import UsageError
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.store.runs import (
    Counts,
    NewRun,
    Owner,
    create_run,
    end_run,
    save_definition,
    save_durations,
    set_run,
)
from agentdeck.store.schema import open_for_writing
from agentdeck.workflow.model import Agent, Definition, plain
from tests.store.samples import new_run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agentdeck.db"


@pytest.fixture
def connection(path: Path) -> sqlite3.Connection:
    return open_for_writing(path)


def names(rows: list[RunRow]) -> list[str]:
    return [row.run for row in rows]


def here(pid: int = os.getpid()) -> Owner:
    return Owner("me", pid, socket.gethostname())


def test_no_file_is_no_runs_yet(path: Path) -> None:
    reader = Reader(path)
    assert reader.runs() == []
    assert list(reader.events("r")) == []
    assert reader.version() == -1
    with pytest.raises(UsageError, match="no runs yet"):
        reader.run("last")
    assert not path.exists()
    connection = open_for_writing(path)
    create_run(connection, new_run("r"))
    assert names(reader.runs()) == ["r"], "it is looked for again"
    version = reader.version()
    create_run(connection, new_run("s"))
    assert reader.version() != version


def test_an_empty_file_is_no_runs_yet(path: Path) -> None:
    path.touch()
    assert Reader(path).runs() == []


def test_runs_come_newest_first_by_page_and_filter(path: Path, connection: sqlite3.Connection) -> None:
    for number in range(25):
        new = NewRun(
            f"r{number:02}",
            "order" if number % 2 else "audit",
            "i",
            float(number // 2),
            tags=("100%",) if number == 7 else (),
            source={"file": f"Flow_{number}.yaml"},
        )
        create_run(connection, new, here(), time.time() + 60)
        if number < 20:
            end_run(
                connection, new.run, "failed" if number % 5 == 0 else "done", 30.0, Counts(4, 3, 1, 0), {"a": 1}
            )
    reader = Reader(path)
    every = names(reader.runs(100))
    assert every == [f"r{number:02}" for number in reversed(range(25))]
    paged: list[str] = []
    before = None
    while page := reader.runs(4, before=before):
        paged += names(page)
        before = page[-1].key
    assert paged == every
    assert names(reader.runs(state="failed")) == ["r15", "r10", "r05", "r00"]
    assert names(reader.runs(state="failed", workflow="audit")) == ["r10", "r00"]
    assert names(reader.runs(state="running")) == ["r24", "r23", "r22", "r21", "r20"]
    assert names(reader.runs(since=12.0)) == ["r24"]
    assert names(reader.runs(tag="100%")) == names(reader.runs(text="100%")) == ["r07"]
    assert names(reader.runs(text="flow_3")) == ["r03"]
    row = reader.run("r05")
    assert row.tasks == Counts(4, 3, 1, 0)
    assert row.summary == {"a": 1}
    assert row.seconds == 28.0
    assert row.owner == ""


def test_a_run_is_found_by_prefix_or_last_or_a_hint(path: Path, connection: sqlite3.Connection) -> None:
    for number, run in enumerate(("brave-otter", "brave-owl", "calm-fox")):
        create_run(connection, new_run(run, float(number)))
    reader = Reader(path)
    assert reader.run("calm").run == reader.run("last").run == "calm-fox"
    with pytest.raises(UsageError, match="several runs begin with brave: brave-otter, brave-owl; type more"):
        reader.run("brave")
    with pytest.raises(UsageError, match=r"no run clam-fox .*did you mean calm-fox\?"):
        reader.run("clam-fox")
    with pytest.raises(UsageError, match="see `agentdeck runs`"):
        reader.run("xyz%")


def test_a_run_whose_owner_died_is_interrupted(path: Path, connection: sqlite3.Connection) -> None:
    soon = time.time() + 60
    create_run(connection, new_run("held", 5.0), here(), soon)
    create_run(connection, new_run("expired", 4.0), here(), time.time() - 1)
    create_run(connection, new_run("dead", 3.0), here(2**22 + 1), soon)
    create_run(connection, new_run("elsewhere", 2.0), Owner("they", 2**22 + 1, "another host"), soon)
    create_run(connection, new_run("drained", 1.0))
    set_run(connection, "drained", state="drained", counts=Counts(9, 1))
    reader = Reader(path)
    assert names(reader.runs(2, state="interrupted")) == ["expired", "dead"]
    assert names(reader.runs(state="interrupted")) == ["expired", "dead", "drained"]
    assert names(reader.runs(1, state="running")) == ["held"]
    assert names(reader.runs(state="running")) == ["held", "elsewhere"]
    assert reader.run("drained").tasks == Counts(9, 1)


def test_medians_of_agents_that_do_the_same_in_other_workflows(
    path: Path, connection: sqlite3.Connection
) -> None:
    def doing(workflow: str, **does: str) -> Definition:
        return Definition(workflow, {name: Agent(name, Python(f"m:{what}")) for name, what in does.items()})

    for number, (one, taken) in enumerate(
        [
            (doing("before", a="f", b="f"), {"a": [1.0, 2.0, 9.0], "b": [5.0]}),
            (doing("edited", a="f"), {"a": [70.0] * 9}),
            (doing("edited", a="g"), {}),
            (doing("own", c="f"), {"c": [3.0]}),
        ]
    ):
        create_run(connection, NewRun(f"r{number}", one.name, save_definition(connection, one), float(number)))
        save_durations(connection, one.name, "", taken)
    wanted = doing("own", a="f", b="other", c="f", d="f")
    assert Reader(path).seconds_elsewhere(wanted, "") == {"a": 2.0}


def test_definitions_and_durations(path: Path, connection: sqlite3.Connection) -> None:
    definition = Definition("order", {"a": Agent("a", Simulate(1.0))})
    identity = save_definition(connection, definition)
    assert save_definition(connection, definition) == identity == definition.identity
    save_durations(connection, "order", "/here", {"a": [2.0] * 100, "b": []})
    save_durations(connection, "order", "/here", {"a": [4.0] * 150})
    save_durations(connection, "order", "/there", {"a": [9.0]})
    reader = Reader(path)
    assert reader.definition(identity) == plain(definition)
    assert reader.durations("order", "/here") == {"a": 3.5}, "the newest 200: fifty of 2 s, the others 4 s"
    assert reader.durations("order", "/there") == {"a": 9.0}, "one name in two folders: two workflows"
    assert reader.durations("other", "/here") == {}
    with pytest.raises(UsageError, match="no definition"):
        reader.definition("nope")


def test_pages_and_filters_are_answered_by_an_index(path: Path, connection: sqlite3.Connection) -> None:
    """What keeps 100,000 runs under 100 ms: no sort, no walk through the table. (Not timed here.)"""
    for where in ("1", "workflow = 'x'", "state = 'done'"):
        sql = f"SELECT * FROM runs WHERE {where} AND (started, run) < (9, 'r') ORDER BY started DESC, run DESC"
        plan = " ".join(row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql))
        assert "USING INDEX" in plan
        assert "TEMP B-TREE" not in plan


def test_tags_follow_their_runs(path: Path, connection: sqlite3.Connection) -> None:
    for number in range(30):
        tags = ("nightly", "nightly") if number % 3 == 0 else ("100%", "ü")
        new = replace(new_run(f"r{number:02}", 1000.0 + number, "order" if number % 2 else "audit"), tags=tags)
        create_run(connection, new)
    reader = Reader(path)
    first = reader.runs(4, tag="nightly")
    assert names(first) == ["r27", "r24", "r21", "r18"]
    assert names(reader.runs(4, tag="nightly", before=first[-1].key)) == ["r15", "r12", "r09", "r06"]
    assert names(reader.runs(tag="nightly", workflow="order", since=1009.0, until=1022.0)) == [
        "r21",
        "r15",
        "r09",
    ]
    assert names(reader.runs(2, tag="ü")) == ["r29", "r28"]
    assert reader.runs(tag="night") == []
    connection.execute("DELETE FROM runs WHERE run = 'r27'")
    assert names(reader.runs(1, tag="nightly")) == ["r24"]
    assert connection.execute("SELECT count(*) FROM tags").fetchone() == (49,)

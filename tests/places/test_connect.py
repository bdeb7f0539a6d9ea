"""Places are connected before anything of a run is recorded; one that refuses leaves everything as it was."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentdeck import UsageError, Workflow, open_store
from agentdeck.engine import launch
from agentdeck.engine.reopened_steps import ReopenRequest
from agentdeck.engine.resume import Resume, resume
from agentdeck.places.place import PlaceRun, PlaceTarget
from agentdeck.store.reader import Reader
from agentdeck.workflow.loader import load
from tests.cli.conftest import Deck
from tests.places.far import DECK, REFUSED, FarPlace, far_installed

pytestmark = pytest.mark.anyio
WORKFLOW = "agentdeck: 1\nname: w\nagents: { a: { python: 'tests.places.far:nap', place: big } }\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with far_installed(tmp_path, monkeypatch):
        yield tmp_path


def made(name: str = "made") -> Workflow:
    found = Workflow(name)
    found.add("here", simulate="0s")
    found.add("there", needs="here", python="tests.places.far:nap", place="big", with_={"n": 0})
    return found


def wanted(folder: Path) -> launch.Launch:
    return launch.Launch(made().definition, folder, db=folder / "runs.db", run="r1")


async def test_it_is_told_what_will_run_there_once(folder: Path) -> None:
    below = folder / "below"
    below.mkdir()
    (below / "inner.yaml").write_text(
        'agentdeck: 1\nname: inner\nagents:\n  deep: { python: "m:f", place: big, when: "false" }\n'
    )
    (folder / "outer.yaml").write_text(
        "agentdeck: 1\nname: outer\nagents:\n"
        "  twice: { workflow: below/inner.yaml }\n"
        '  far: { python: "tests.places.far:nap", place: big, with: { n: 0 } }\n'
        "  near: { simulate: 0s }\n"
    )
    loaded = load(folder / "outer.yaml").definition
    outcome = await launch.run(launch.Launch(loaded, folder, run="r2"))
    assert outcome.state == "done"
    (place,) = FarPlace.made
    assert place.run.run == "r2"
    assert place.run.targets == (
        PlaceTarget("far", "tests.places.far:nap", folder),
        PlaceTarget("deep", "m:f", below),
    )
    assert place.closed


async def test_a_refused_launch_leaves_no_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FarPlace, "refuses", REFUSED)
    with pytest.raises(UsageError, match=REFUSED):
        await launch.run(wanted(folder))
    with closing(Reader(folder / "runs.db")) as reader:
        assert reader.runs() == []
    assert FarPlace.made[0].closed
    (folder / "w.yaml").write_text(WORKFLOW)
    with pytest.raises(UsageError, match=REFUSED):
        await Workflow.from_file(folder / "w.yaml").run(db=folder / "api.db")
    async with open_store(folder / "api.db") as store:
        assert await store.runs() == []


@pytest.mark.parametrize("how", ["interrupted", "done"])
async def test_a_refused_resume_leaves_the_run_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    db = folder / "runs.db"
    outcome = await launch.run(wanted(folder))
    assert outcome.state == "done"
    with closing(sqlite3.connect(db)) as store, store:
        if how == "interrupted":  # its process of another machine died a while ago
            store.execute("DELETE FROM event_log WHERE id % (1 << 32) > 3")
            lease = "owner = 'o', pid = 1, host = 'h', lease_until = 7"
            store.execute(f"UPDATE runs SET state = 'running', ended = NULL, {lease}")
        before = store.execute("SELECT * FROM runs").fetchall()
        events = store.execute("SELECT count(*) FROM events").fetchall()
    monkeypatch.setattr(FarPlace, "refuses", REFUSED)
    again = ReopenRequest([("1", "there")]) if how == "done" else None
    with pytest.raises(UsageError, match=REFUSED):
        await resume(Resume("r1", db), None, again)
    with closing(sqlite3.connect(db)) as store:
        assert store.execute("SELECT * FROM runs").fetchall() == before
        assert store.execute("SELECT count(*) FROM events").fetchall() == events
    monkeypatch.setattr(FarPlace, "refuses", "")
    assert (await resume(Resume("r1", db), None, again)).state == "done"
    assert [place.closed for place in FarPlace.made] == [True] * 3


async def test_a_plugin_that_raises_anything_else_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(self: FarPlace, run: PlaceRun) -> None:
        raise RuntimeError("no idea")

    monkeypatch.setattr(FarPlace, "connect", connect)
    with pytest.raises(UsageError, match="the place big cannot be used: RuntimeError: no idea"):
        await launch.run(wanted(folder))
    assert FarPlace.made[0].closed


def test_the_command_line_says_why_and_records_nothing(folder: Path) -> None:
    deck = Deck(folder)
    deck.write("deck.yaml", DECK.replace("far", "refusing"))
    deck.write("w.yaml", WORKFLOW)
    deck.env["PYTHONPATH"] += f"{os.pathsep}{folder}"
    done = deck("run", "w.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert REFUSED in done.stderr
    assert "Traceback" not in done.stderr
    with closing(Reader(deck.db)) as reader:
        assert reader.runs() == []

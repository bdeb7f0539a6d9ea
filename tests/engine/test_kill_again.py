"""kill -9 while what failed goes again, or a fork is made: neither is lost, and nothing is done twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow

TASKS = 4
#: `pay` works once there is a file `ok`.
WORK = """
agentdeck: 1
name: work
inputs: { n: integer }
defaults: { retry: 1 }
agents:
  a: { command: [sh, -c, 'echo "a $1" >> effects; echo $1', sh, "${inputs.n}"] }
  pay: { needs: a, command: [sh, -c, 'test -e ok && echo "pay $1" >> effects', sh, "${inputs.n}"] }
  ship: { needs: a, command: [sh, -c, 'echo "ship $1" >> effects', sh, "${inputs.n}"] }
  end: { needs: [pay, ship], command: [sh, -c, 'echo "end $1" >> effects; echo done', sh, "${inputs.n}"] }
output: ${end}
"""
ALWAYS = ("lease.taken:1", "attempt.effected:1", "commit.before:1", "commit.after:2")
COMMITS = [f"commit.{side}:{number}" for side in ("before", "after") for number in range(1, 8)]
SELDOM = {"resume.folded:1", "attempt.started:2", "run.ended:1", *COMMITS}.difference(ALWAYS)
MOMENTS = [*ALWAYS, *(pytest.param(moment, marks=pytest.mark.soak) for moment in sorted(SELDOM))]


class Broken:
    """A run whose `pay` has failed in every task, and then was mended."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.db, self.kills = folder, folder / "k.db", 0
        (folder / "w.yaml").write_text(WORK)
        (folder / "t.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(TASKS)))
        assert self.run("run", "w.yaml", "--tasks", "t.jsonl") == 1
        (folder / "ok").touch()

    def run(self, *args: str, fault: str = "") -> int:
        env = {name: value for name, value in os.environ.items() if not name.startswith("AGENTDECK_")}
        env |= {"AGENTDECK_FAULT": fault, "AGENTDECK_DB": str(self.db)}
        call = [sys.executable, "-m", "agentdeck.cli.main", *args]
        code = subprocess.run(call, cwd=self.folder, env=env, capture_output=True, check=False).returncode
        self.kills += code == -signal.SIGKILL
        return code

    def rows(self) -> list[RunRow]:
        """The newest run first."""
        reader = Reader(self.db)
        try:
            return reader.runs()
        finally:
            reader.close()

    def events(self, run: str) -> list[ev.Event]:
        reader = Reader(self.db)
        try:
            return [event for _, event in reader.events(run)]
        finally:
            reader.close()

    def effects(self) -> Counter[str]:
        return Counter(line.split()[0] for line in (self.folder / "effects").read_text().splitlines())

    def sound(self) -> None:
        connection = sqlite3.connect(self.db)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


@pytest.fixture
def broken(tmp_path: Path) -> Broken:
    return Broken(tmp_path)


@pytest.mark.parametrize("fault", MOMENTS)
def test_a_retry_that_is_killed_is_done_or_was_not_begun(broken: Broken, fault: str) -> None:
    broken.run("retry", "last", fault=fault)
    (row,) = broken.rows()
    assert row.state in ("interrupted", "failed", "done")
    if row.state == "interrupted":
        broken.run("resume", "last")
        (row,) = broken.rows()
    if row.state == "failed":  # killed before it was recorded that anything goes again
        assert broken.run("retry", "last") == 0
        (row,) = broken.rows()
    assert (row.state, row.tasks.done, row.tasks.failed) == ("done", TASKS, 0)
    events = broken.events(row.run)
    reopened = [(e.task, e.step) for e in events if isinstance(e, ev.StepReopened)]
    assert sorted(reopened) == [(str(n + 1), "pay") for n in range(TASKS)], "once each"
    effects = broken.effects()
    assert effects["a"] == effects["ship"] == TASKS, "what was done is not done again"
    assert all(TASKS <= effects[name] <= TASKS + broken.kills * TASKS for name in ("pay", "end"))
    reader = Reader(broken.db)
    assert {letter.state for letter in reader.letters()} == {"closed"}
    reader.close()
    broken.sound()


@pytest.mark.parametrize("fault", MOMENTS)
def test_a_fork_that_is_killed_is_whole_or_was_not_made(broken: Broken, fault: str) -> None:
    (old,) = broken.rows()
    before = broken.events(old.run)
    broken.run("fork", old.run, fault=fault)
    if len(broken.rows()) == 1:
        assert broken.run("fork", old.run) == 0
    new = broken.rows()[0]
    if new.state == "interrupted":
        assert broken.run("resume", new.run) == 0
    new, kept = broken.rows()
    assert (new.state, new.tasks.done) == ("done", TASKS)
    assert kept == old
    assert broken.events(old.run) == before
    effects = broken.effects()
    assert effects["a"] == effects["ship"] == TASKS, "shared"
    assert all(TASKS <= effects[name] <= TASKS + broken.kills * TASKS for name in ("pay", "end"))
    broken.sound()

"""No process of an agent outlives the engine that started it, and none is started beside one that did."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentdeck.processes.ending import MARK
from agentdeck.processes.identity import is_running
from agentdeck.store.reader import Reader
from tests.waiting import until

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")

ROOT = Path(__file__).parents[2]
#: A shell with a child in its group, one in a session of its own, and one without its environment; each of them
#: is found by TRACE, or by its group.
FAMILY = "setsid sleep 300 & env -i sleep 300 & trap '' TERM; sleep 300"
WORK = f"""
agentdeck: 1
name: families
inputs: {{ n: integer }}
agents:
  quick: {{ command: [sh, -c, "exit 0"] }}
  long: {{ needs: quick, command: [sh, -c, "{FAMILY}"] }}
"""


class Families:
    """Engines whose commands have children, in a folder of their own; TRACE says which processes are theirs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = folder / "k.db"
        self.started: list[subprocess.Popen[bytes]] = []
        self.known: set[int] = set()
        (folder / "w.yaml").write_text(WORK)
        (folder / "t.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(6)))

    def start(self, *args: str, **env: str) -> subprocess.Popen[bytes]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTDECK_")}
        with (self.folder / "said").open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "agentdeck.cli.main", *args, "--db", "k.db"],
                cwd=self.folder,
                env={**kept, "PYTHONPATH": str(ROOT), "TRACE": str(self.folder), **env},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def begin(self) -> subprocess.Popen[bytes]:
        return self.start("run", "w.yaml", "--tasks", "t.jsonl", "--workers", "4")

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def commands(self) -> set[int]:
        """The processes of commands: those with the trace and a mark, and the members of their groups."""
        trace, found, groups = f"TRACE={self.folder}".encode(), set[int](), dict[int, int]()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                environ = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if fields[0] not in (b"Z", b"X"):
                groups[int(entry.name)] = int(fields[2])
                if trace in environ and any(one.startswith(MARK.encode() + b"=") for one in environ):
                    found.add(int(entry.name))
        leaders = {groups[pid] for pid in found}
        found |= {pid for pid, group in groups.items() if group in leaders}
        self.known |= found
        return found

    def left(self) -> set[int]:
        """What was seen of commands and still runs, and what is there now."""
        return {pid for pid in self.known if is_running(pid)} | self.commands()

    def recorded(self) -> int:
        connection = sqlite3.connect(self.db)
        try:
            number: int = connection.execute("SELECT count(*) FROM processes").fetchone()[0]
        except sqlite3.OperationalError:  # the store is being made
            return 0
        finally:
            connection.close()
        return number

    def watchers(self, engine: int) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(engine).encode() in command and any(
                b"agentdeck.processes.watcher" in word for word in command
            ):
                found.append(int(entry.name))
        return found


@pytest.fixture
def families(tmp_path: Path) -> Iterator[Families]:
    made = Families(tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.wait()
    until(lambda: not made.left())


def test_an_engine_that_is_killed_leaves_nothing_behind(families: Families) -> None:
    engine = families.begin()
    until(lambda: len(families.commands()) >= 16)
    engine.kill()
    engine.wait()
    until(lambda: not families.left())


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_an_engine_whose_terminal_is_closed_leaves_nothing_behind(families: Families, number: int) -> None:
    engine = families.begin()
    until(lambda: len(families.commands()) >= 4)
    os.killpg(engine.pid, number)
    engine.wait()
    until(lambda: not families.left())


def test_what_outlived_engine_and_watcher_ends_before_its_step_runs_again(families: Families) -> None:
    engine = families.begin()
    until(lambda: len(families.commands()) >= 16 and families.recorded() == 4)
    (watcher,) = families.watchers(engine.pid)
    os.kill(watcher, signal.SIGKILL)
    engine.kill()
    engine.wait()
    before = families.commands()
    assert len(before) >= 16
    again = families.start("resume", "last")
    until(lambda: families.commands() - before)
    assert not {pid for pid in before if is_running(pid)}
    assert "left running" in families.said()
    again.kill()
    again.wait()
    until(lambda: not families.left())


def test_a_pid_that_is_used_again_is_not_ended(families: Families) -> None:
    """The recorded process is gone; another one has its pid."""
    engine = families.begin()
    until(lambda: families.recorded() == 4)
    engine.kill()
    engine.wait()
    until(lambda: not families.left())
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    connection = sqlite3.connect(families.db)
    with connection:
        connection.execute("UPDATE processes SET pid = ?", (stranger.pid,))
    connection.close()
    again = families.start("resume", "last")
    until(lambda: families.commands())
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    again.kill()


def test_a_watcher_that_was_killed_is_replaced(families: Families) -> None:
    (families.folder / "two.yaml").write_text(
        "agentdeck: 1\nname: two\nagents:\n  first: { command: [sleep, '300'] }\n"
        "  second: { command: [sleep, '300'] }\n"
    )
    engine = families.start("run", "two.yaml")
    until(lambda: families.watchers(engine.pid) and len(families.commands()) >= 2)
    (watcher,) = families.watchers(engine.pid)
    time.sleep(1.1)  # one that dies at once is replaced with the next child only
    os.kill(watcher, signal.SIGKILL)
    until(lambda: families.watchers(engine.pid) not in ([], [watcher]))
    engine.kill()
    engine.wait()
    until(lambda: not families.left())


def test_a_few_kills_at_random_moments(families: Families) -> None:
    killed(families, random.Random(11), 5)


def killed(families: Families, chance: random.Random, times: int) -> None:
    """Kill the run and each resume of it at some moment, and look for what is left each time."""
    for number in range(times):
        engine = families.start("resume", "last") if number else families.begin()
        if not number:
            until(families.db.exists)
            until(lambda: Reader(families.db).runs(1))
        else:
            end = time.monotonic() + chance.uniform(0.2, 1.2)
            while time.monotonic() < end:
                families.commands()
                time.sleep(0.01)
        assert engine.poll() is None, families.said()
        engine.kill()
        engine.wait()
        until(lambda: not families.left())


@pytest.mark.soak
def test_hundreds_of_kills_leave_no_orphan(tmp_path: Path) -> None:
    """300 kills, or as many as AGENTDECK_ORPHAN_KILLS says."""
    wanted, chance = int(os.environ.get("AGENTDECK_ORPHAN_KILLS", "300")), random.Random(300)
    for number in range(wanted // 20):
        folder = tmp_path / str(number)
        folder.mkdir()
        killed(Families(folder), chance, 20)

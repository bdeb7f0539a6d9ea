"""The engine is beside the console, not inside: real processes, and the console in a real terminal."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentdeck.processes.identity import is_running
from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from benchmarks.terminal import Terminal

GATE = """
agentdeck: 1
name: gate
agents:
  says: { python: work:says }
  child:
    command: [sh, -c, 'printf "\\033[5mchild\\n"; printf "\\033[5mchild\\n" >&2; sh -c "echo grandchild"']
  holds: { needs: [says, child], python: work:holds, timeout: 60s }
  after: { needs: holds, command: ["true"] }
"""
WORK = """
import asyncio, os, subprocess, sys

def says():
    print("\\033[5mprinted")
    print("\\033[5mprinted", file=sys.stderr)
    os.write(1, b"\\033[5mraw\\n")
    os.write(2, b"\\033[5mraw\\n")
    subprocess.run(["sh", "-c", "printf '\\\\033[5mchild\\n'; printf '\\\\033[5mchild\\n' >&2"])
    sys.__stderr__.write("\\033[5mthe first stderr\\n")

async def holds():
    while not os.path.exists("go"):
        await asyncio.sleep(0.02)
"""
START = """
import sys
from pathlib import Path
from agentdeck.operations import engine_process
from agentdeck.console.app import DeckApp
engine = engine_process.launch(Path("deck.db"), Path("gate.yaml"), engine_process.LaunchRequest())
DeckApp(Path("deck.db"), engine=engine).run()
"""


class Stage:
    """A console in a terminal of its own, that has launched a run which holds until `go`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.db = folder, folder / "deck.db"
        (folder / "gate.yaml").write_text(GATE)
        (folder / "work.py").write_text(WORK)
        env = {
            "PYTHONPATH": f"{Path(__file__).parents[2]}",
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
        }
        self.terminal = Terminal([sys.executable, "-c", START], env=env, folder=folder)
        self.closed = False

    def go(self) -> None:
        (self.folder / "go").touch()

    @property
    def row(self) -> RunRow | None:
        reader = Reader(self.db)
        try:
            return next(iter(reader.runs(1)), None)
        finally:
            reader.close()

    @property
    def state(self) -> str:
        row = self.row
        return row.state if row else ""

    @property
    def holding(self) -> bool:
        """The step that waits runs."""
        return self.recorded(ev.StepStarted, "holds")

    def recorded(self, kind: type, step: str = "") -> bool:
        row = self.row
        if row is None:
            return False
        reader = Reader(self.db)
        try:
            found = (event for _, event in reader.events(row.run) if type(event) is kind)
            return any(not step or getattr(event, "step", "") == step for event in found)
        finally:
            reader.close()

    def until(self, holds: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        """Wait, and take what the console paints meanwhile: a terminal that is read."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"{what} did not come true; on the screen: {self.shown()[-3000:]}"
            if self.closed:
                time.sleep(0.02)
            else:
                self.terminal.read(0.02)

    def press(self, key: str) -> None:
        """Press a key. `sees` looks at what is painted from now on, also while something else is waited for."""
        self.terminal.seen = b""
        self.terminal.press(key)

    def sees(self, text: str) -> None:
        """Wait until a text was painted since the last key."""
        self.until(lambda: text in self.shown(), f"{text!r} on the screen")

    def shown(self) -> str:
        return self.terminal.text().decode(errors="replace")

    def gone(self) -> bool:
        return self.terminal.process.poll() is not None

    def hang_up(self) -> None:
        """The terminal's window is closed."""
        self.closed = True
        self.terminal.hang_up()

    def end(self) -> None:
        self.go()
        row = self.row
        if row is not None and row.pid and row.state in ("running", "paused"):
            os.kill(row.pid, signal.SIGKILL)
        self.terminal.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    one = Stage(tmp_path)
    try:
        one.until(lambda: one.holding and "holds" in one.shown(), "the step that waits runs, and is shown")
        yield one
    finally:
        one.end()


@pytest.mark.parametrize("how", ["killed", "hung up on", "without its terminal"])
def test_a_run_goes_on_when_the_console_is_gone(stage: Stage, how: str) -> None:
    if how == "killed":
        stage.terminal.process.kill()
    elif how == "hung up on":
        stage.terminal.process.send_signal(signal.SIGHUP)
    else:
        stage.hang_up()
    stage.until(stage.gone, "the console has ended")
    assert stage.state == "running"
    stage.go()
    stage.until(lambda: stage.state == "done", "the run is done")


def test_when_the_engine_dies_the_console_says_so_and_one_key_goes_on(stage: Stage) -> None:
    row = stage.row
    assert row is not None
    assert row.pid
    os.kill(row.pid, signal.SIGKILL)
    stage.sees("interrupted")
    stage.go()
    stage.press("R")
    stage.until(lambda: stage.state == "done", "the run is done")
    stage.sees("done")


@pytest.mark.parametrize(("key", "state"), [("k", "running"), ("d", "interrupted"), ("x", "cancelled")])
def test_closing_the_console_asks_what_becomes_of_the_run(stage: Stage, key: str, state: str) -> None:
    stage.press("\x11")
    stage.sees("Close the console?")
    stage.press(key)
    stage.until(stage.gone, "the console has ended")
    assert stage.terminal.process.returncode == 0
    if key == "d":
        stage.until(lambda: stage.recorded(ev.RunDrained), "nothing new starts")
        stage.go()  # what runs may finish, and the next does not start
    stage.until(lambda: stage.state == state, f"the run is {state}")


def test_nothing_that_agents_or_their_children_write_reaches_the_terminal(stage: Stage) -> None:
    row = stage.row
    assert row is not None
    stage.press("5")
    stage.sees("grandchild")
    stage.go()
    stage.until(lambda: not is_running(row.pid or 0), "the engine has ended")
    assert stage.state == "done"
    stage.press("\x11")
    stage.until(stage.gone, "the console has ended")
    assert b"\x1b[5m" not in stage.terminal.seen
    reader = Reader(stage.db)
    try:
        told = [line.text for line in reader.logs(row.run)]
    finally:
        reader.close()
    assert [text.removeprefix("\x1b[5m") for text in told].count("printed") == 2
    assert "grandchild" in told

"""An evening at the console, typed into a real terminal: launched, steered, mended and left."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux here to type into")

ROOT = Path(__file__).parents[2]
#: One order cannot be paid until the vault is open.
SHOP = """
agentdeck: 1
name: shop
agents:
  read: { simulate: { takes: 400ms, says: ["order ${task.order}"], returns: { id: "${task.order}" } } }
  pay:
    needs: read
    retry: 1
    command: ["sh", "-c", 'test "$0" != A-2 || test -e open', "${task.order}"]
"""


#: An editor that waits for Enter and then gives the shop another agent.
EDIT = """
echo "the editor has $1"
read answer
echo '  wrap: { needs: pay, simulate: { takes: 10ms } }' >> "$1"
"""


class Terminal:
    """A terminal of 140x40 cells with the console in it."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.name = (
            f"agentdeck-{os.getpid()}-{folder.name}"  # a server of its own: the last one may still be going
        )
        env = {
            "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(folder / "config"), "TERM": "screen-256color",
            "XDG_DATA_HOME": str(folder / "data"), "AGENTDECK_DB": str(folder / "deck.db"), "USER": "eva",
            "EDITOR": f"sh {folder / 'edit.sh'}",
        }  # fmt: skip
        given = " ".join(f"{name}={shlex.quote(value)}" for name, value in env.items())
        command = shlex.join([sys.executable, "-m", "agentdeck.cli.main", *args])
        console = f"env -u NO_COLOR -u COLUMNS -u LINES {given} {command}"
        shell = f"cd {shlex.quote(str(folder))}; {console}; echo left with $?; cat"
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "140", "-y", "40", shell)

    def _tmux(self, *args: str) -> str:
        done = subprocess.run(["tmux", "-L", self.name, *args], capture_output=True, text=True, check=True)
        return done.stdout

    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def wait(self, pattern: str, seconds: float = 15.0) -> str:
        """Until this is on the screen; the whole screen then."""
        end = time.monotonic() + seconds
        while re.search(pattern, shown := self.text()) is None:
            assert time.monotonic() < end, f"{pattern!r} never appeared:\n{shown}"
            time.sleep(0.05)
        return shown

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self.name, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "shop.yaml").write_text(SHOP, encoding="utf-8")
    orders = "".join(json.dumps({"order": f"A-{number}"}) + "\n" for number in range(1, 400))
    (tmp_path / "orders.jsonl").write_text(orders, encoding="utf-8")
    (tmp_path / "edit.sh").write_text(EDIT, encoding="utf-8")
    made = Terminal(tmp_path, "shop.yaml")
    yield made
    made.close()


def test_an_evening_at_the_console(terminal: Terminal, tmp_path: Path) -> None:
    terminal.wait(r"shop\.yaml")
    terminal.press("Enter")
    terminal.wait("tasks file")
    terminal.type("orders.jsonl")
    terminal.wait("399 tasks")
    terminal.press("C-r")
    terminal.wait(r"● running +shop")

    terminal.press("t")
    terminal.wait("→ More  u Undo")
    terminal.wait(r"workers +8 ")
    terminal.press("Enter")
    terminal.wait("8 → 8▏")
    terminal.type("3")
    terminal.press("Enter")
    terminal.wait(r"workers +3 +3/3")

    terminal.press("p")
    terminal.wait(r"‖ paused +shop")
    terminal.press("p")
    terminal.wait(r"● running +shop")

    terminal.wait("✗ 1 dead letter")
    terminal.press("L")
    terminal.wait(r"1 +pay +exit: exited with 1")
    (tmp_path / "open").touch()
    terminal.press("R")
    terminal.wait("Retry 1 dead letter")
    terminal.press("y")
    terminal.wait("no open dead letters")

    terminal.press("Escape")
    terminal.wait(r"● running +shop")
    terminal.press("C-q")
    terminal.wait("(?i)keep running")
    terminal.press("x")
    terminal.wait("left with 0")


def test_a_workflow_is_edited_and_shown_as_it_is_then(terminal: Terminal, tmp_path: Path) -> None:
    before = terminal.wait(r"shop\.yaml")
    assert "wrap" not in before
    terminal.press("e")
    terminal.wait(r"the editor has .*shop\.yaml")
    terminal.press("Enter")
    shown = terminal.wait(r"wrap")
    assert "pay" in shown
    assert "3 agents" in shown

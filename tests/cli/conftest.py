"""The command line as its users start it: a process of its own, with a store of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentdeck.engine.author import current_author
from agentdeck.store.reader import Reader
from tests.cli.documents import check_documents

#: How the store names who acts on the command line in these tests.
WHO = current_author("cli").text
ROOT = Path(__file__).resolve().parents[2]
QUICK = """
agentdeck: 1
name: quick
inputs:
  n: { type: integer, default: 1 }
  word: { type: string }
agents:
  first:
    simulate: { takes: 10ms, returns: { n: "${inputs.n}", word: "${inputs.word}" } }
  second:
    needs: first
    simulate: { takes: 10ms, says: ["got ${first.word}"], returns: "${first.n}" }
output: ${second}
"""
SLOW = """
agentdeck: 1
name: slow
agents:
  one: { simulate: { takes: 1500ms, returns: 1 } }
  two: { needs: one, simulate: { takes: 200ms, returns: 2 } }
output: ${two}
"""
ASKS = """
agentdeck: 1
name: asks
agents:
  gate: { approve: { ask: "Really?" } }
  after: { needs: gate, simulate: { takes: 10ms, returns: "${gate.approved}" } }
output: ${after}
"""


class Deck:
    """`agentdeck` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = folder / "deck.db"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTDECK_")}
        config = {"XDG_CONFIG_HOME": str(folder / "config"), "PYTHONPATH": str(ROOT)}
        self.env = {
            **kept,
            **config,
            "AGENTDECK_DB": str(self.db),
            "USER": "ada",
        }
        self.started: list[subprocess.Popen[str]] = []

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def __call__(self, *args: object, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(args),
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.env, **env},
            timeout=60,
            check=False,
        )
        check_documents([*map(str, args)], done.stdout)
        return done

    def log(self) -> str:
        """The events of the newest run as JSON lines, empty until it has some. Read in this process: a command
        takes up to a second on a loaded machine, and a step that the test waits for may be over by then."""
        if not self.db.exists():
            return ""
        reader = Reader(self.db)
        try:
            runs = reader.runs(1)
            return "\n".join(json.dumps(event) for event in reader.raw_events(runs[0].run)) if runs else ""
        finally:
            reader.close()

    def start(self, *args: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(args),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.env,
        )
        self.started.append(process)
        return process

    @staticmethod
    def command(args: tuple[object, ...]) -> list[str]:
        return [sys.executable, "-m", "agentdeck.cli.main", *map(str, args)]


@pytest.fixture
def deck(tmp_path: Path) -> Iterator[Deck]:
    made = Deck(tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def each_loop(deck: Deck, loop_path: str) -> Deck:
    """The same on both event loops: what it starts with `start`."""
    deck.env["PYTHONPATH"] = loop_path
    return deck

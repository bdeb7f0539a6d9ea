"""Engines beside the console: a run launched here executes in a process of its own.

It has its own session and no terminal, so it outlives the console, and nothing that it or its children print can
reach the screen.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from agentdeck.operations.author import TOOL
from agentdeck.store.runs import new_run
from agentdeck.terminal_text import clean

KEPT = 4000


@dataclass(frozen=True, slots=True)
class Order:
    """What to launch, as `agentdeck run` is given it. `settings` are those that differ from the file."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    tasks: Path | None = None
    workers: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


class Engine:
    """A process that runs `run`. Its last words are kept for the case that it dies before the run began."""

    def __init__(self, run: str, arguments: Sequence[str]) -> None:
        self.run = run
        self._words: IO[bytes] = tempfile.TemporaryFile(prefix="agentdeck-")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "agentdeck.cli.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._words,
            start_new_session=True,
            env={**os.environ, TOOL: "console"},
        )
        # Taken notice of at once when it ends: a process nobody waits for looks alive to everyone.
        threading.Thread(target=self._process.wait, name=f"agentdeck-wait-{run}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.returncode

    @property
    def words(self) -> str:
        """The last of what it said on stderr."""
        self._words.flush()
        size = self._words.seek(0, 2)
        self._words.seek(max(0, size - KEPT))
        return clean(self._words.read().decode(errors="replace"), lines=True).strip()


def launch(db: Path, file: Path, order: Order) -> Engine:
    """Start a run of a workflow file. Its id is known at once; its row comes when the engine is up."""
    run = new_run()
    arguments = ["run", str(file), "--run-id", run, "--db", str(db), "--json", "--wait"]
    for name, text in order.inputs.items():
        arguments += ["-i", f"{name}=@{text}" if text.startswith("@") else f"{name}={text}"]
    if order.tasks is not None:
        arguments += ["--tasks", str(order.tasks)]
    if order.workers is not None:
        arguments += ["--workers", str(order.workers)]
    for name, setting in order.settings.items():
        arguments += ["--set", f"{name}={setting}"]
    return Engine(run, arguments)


def call(db: Path, *arguments: str) -> Engine:
    """Another verb of the headless twin, beside the console."""
    return Engine(arguments[0], [*arguments, "--db", str(db)])


def retry(db: Path, run: str, arguments: Sequence[str]) -> Engine:
    """Start an engine that takes a run up for what goes again in it."""
    return Engine(run, ["retry", run, *arguments, "--yes", "--wait", "--db", str(db), "--json"])


def resume(db: Path, run: str, accept: bool = False) -> Engine:
    """Start an engine that goes on with an interrupted run; with `accept`, although its files have changed."""
    accepted = ["--accept-changes"] if accept else []
    return Engine(run, ["resume", run, *accepted, "--wait", "--db", str(db), "--json"])

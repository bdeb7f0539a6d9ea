"""Engine processes beside the console or a worker of Airflow: `agentdeck run`, `retry` or `resume` in a process
of its own.

The process has its own session and no terminal: it outlives the one that started it, and nothing that it or its
children print reaches a screen.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from agentdeck.operations.author import TOOL
from agentdeck.store.runs import new_run
from agentdeck.terminal_text import clean

#: Bytes of stderr that `EngineProcess.stderr_tail` returns.
STDERR_TAIL = 4000


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """Options of `agentdeck run`. `settings` holds the limits that differ from the workflow file."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    tasks: Path | None = None
    workers: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


class EngineProcess:
    """A process that executes the verb in `arguments` for the run `run`, since `started` (time of day). Its
    stderr goes into a temporary file, which explains an end before the run's row exists. Decisions that it
    records name the `tool` that started it. `env` are more variables, `folder` is its working folder."""

    def __init__(
        self,
        run: str,
        arguments: Sequence[str],
        tool: str = "console",
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.run, self.verb, self.started = run, arguments[0], time.time()
        self._stderr: IO[bytes] = tempfile.TemporaryFile(prefix="agentdeck-")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "agentdeck.cli.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            start_new_session=True,
            env={**os.environ, **(env or {}), TOOL: tool},
            cwd=folder,
        )
        # Reap the process as soon as it ends: until then a zombie looks alive to every other process.
        threading.Thread(target=self._process.wait, name=f"agentdeck-wait-{run}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> int | None:
        """The exit code, None while the process runs."""
        return self._process.returncode

    def kill(self) -> None:
        """End it at once. What it has started ends with it."""
        self._process.kill()

    @property
    def stderr_tail(self) -> str:
        """The last STDERR_TAIL bytes of stderr as text."""
        self._stderr.flush()
        size = self._stderr.seek(0, 2)
        self._stderr.seek(max(0, size - STDERR_TAIL))
        return clean(self._stderr.read().decode(errors="replace"), lines=True).strip()


def launch(db: Path, file: Path, request: LaunchRequest) -> EngineProcess:
    """Start a run of a workflow file. The run's id is known at once; its row appears once the engine has
    started."""
    run = new_run()
    arguments = ["run", str(file), "--run-id", run, "--db", str(db), "--json", "--wait"]
    for name, text in request.inputs.items():
        arguments += ["-i", f"{name}=@{text}" if text.startswith("@") else f"{name}={text}"]
    if request.tasks is not None:
        arguments += ["--tasks", str(request.tasks)]
    if request.workers is not None:
        arguments += ["--workers", str(request.workers)]
    for name, setting in request.settings.items():
        arguments += ["--set", f"{name}={setting}"]
    return EngineProcess(run, arguments)


def start_letters_verb(db: Path, verb: str, ids: Sequence[int], *options: str) -> EngineProcess:
    """Start `agentdeck letters VERB` for these letters."""
    return EngineProcess("letters", ["letters", verb, *map(str, ids), *options, "--db", str(db)])


def retry(db: Path, run: str, arguments: Sequence[str]) -> EngineProcess:
    """Start `agentdeck retry` on a run that no process holds."""
    return EngineProcess(run, ["retry", run, *arguments, "--yes", "--wait", "--db", str(db), "--json"])


def resume(db: Path, run: str, accept: bool = False) -> EngineProcess:
    """Start `agentdeck resume` on an interrupted run; `accept` resumes although its files have changed."""
    accepted = ["--accept-changes"] if accept else []
    return EngineProcess(run, ["resume", run, *accepted, "--wait", "--db", str(db), "--json"])

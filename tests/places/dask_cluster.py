"""A Dask cluster of this machine for tests: a scheduler and two workers, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Seconds in which something of the cluster has to happen.
PATIENCE = 120.0
WORKERS = ("first", "second")


class DaskCluster:
    """Its processes by name: `scheduler`, and the workers. What they print is in files of the folder. `options`
    are for all of them, `program` is what starts the workers."""

    def __init__(self, folder: Path, *options: str, python: str = sys.executable) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._options = options
        self._python = python

    @property
    def address(self) -> str:
        return str(json.loads((self.folder / "scheduler.json").read_text())["address"])

    def start(self) -> None:
        for name in WORKERS:  # they wait for the file of the scheduler
            self.start_worker(name)
        self.start_scheduler()
        self.wait_for_workers(*WORKERS)

    def start_scheduler(self, port: int = 0) -> None:
        self._spawn("scheduler", "--port", str(port), "--no-show")

    def start_worker(self, name: str, path: Path = ROOT) -> None:
        """`path`: where the worker finds agentdeck."""
        space = str(self.folder / "space")
        limits = ("--memory-limit", "0", "--nthreads", "8", "--no-nanny")
        self._spawn(name, *limits, "--name", name, "--local-directory", space, path=path)

    def wait_for_workers(self, *names: str) -> None:
        for name in names:
            wait_until(lambda name=name: "Registered to:" in self.printed(name))  # type: ignore[misc]

    def printed(self, name: str) -> str:
        file = self.folder / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()

    def _spawn(self, name: str, *arguments: str, path: Path = ROOT) -> None:
        kind = "scheduler" if name == "scheduler" else "worker"
        python = sys.executable if kind == "scheduler" else self._python
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [
                    *(python, "-m", f"distributed.cli.dask_{kind}", "--host", "127.0.0.1", "--no-dashboard"),
                    *("--scheduler-file", str(self.folder / "scheduler.json"), *arguments, *self._options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(path)},
            )


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)

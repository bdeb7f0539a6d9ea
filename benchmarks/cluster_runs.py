"""Runs of `benchmarks.cluster`: agentdeck with its agents at a place, as an operator starts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Any

from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from benchmarks.graphs import ORDER

ROOT = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


class Processes:
    """Peak memory and processor time of processes, and of all that they start, by what they are. It looks ten
    times a second, so what a process does in its last tenth is missed."""

    def __init__(self, roots: dict[str, int]) -> None:
        self._roots = roots
        self._over = threading.Event()
        self._names: dict[int, str] = {}
        self._used: dict[int, tuple[float, float]] = {}  # processor seconds at first sight, and now
        self.peak_mb: dict[str, float] = {}
        self._look()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self._look()

    def _look(self) -> None:
        for name, pid in self._roots.items():
            self._take(pid, name, "")

    def _take(self, pid: int, name: str, above: str) -> None:
        try:
            status, below = _status(pid), _children(pid)
            used = _processor_seconds(pid)
            if above:
                name = self._names[pid] = self._names.get(pid) or _program(pid, above)
        except OSError:
            return  # it has ended
        if not name:
            return
        if "VmHWM" in status:
            peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
            self.peak_mb[name] = max(peak, self.peak_mb.get(name, 0.0))
        self._names[pid] = name
        self._used[pid] = self._used.get(pid, (0.0 if above else used, used))[0], used
        for child in below:
            self._take(child, "", name.partition("/")[0])

    def stop(self) -> dict[str, float]:
        """The processor seconds of each kind of process since it began."""
        self._over.set()
        self._thread.join()
        found: dict[str, float] = {}
        for pid, (before, now) in self._used.items():
            found[self._names[pid]] = found.get(self._names[pid], 0.0) + now - before
        return found


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def _children(pid: int) -> list[int]:
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _program(pid: int, above: str) -> str:
    """What a child process is: its Python file, or its program."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    found = Path(next((word for word in words if word.endswith(".py")), words[0])).stem
    return f"{above}/{found}" if found else ""


def make(folder: Path, place: str, agents: dict[str, dict[str, Any]], inputs: dict[str, str]) -> Path:
    """A workflow whose agents run at a place, beside its deck and the module of its steps."""
    shutil.copy(Path(__file__).with_name("cluster_steps.py"), folder / "steps.py")
    (folder / "deck.yaml").write_text(f"agentdeck: 1\nplaces:\n  big: {place}\n")
    made = {
        "agentdeck": 1,
        "name": "bench",
        "inputs": inputs,
        "defaults": {"retry": 1, "timeout": "10m"},
        "agents": {name: {"place": "big", **keys} for name, keys in agents.items()},
    }
    file = folder / "bench.yaml"
    file.write_text(json.dumps(made))
    return file


def order(step: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: {**step, **({"needs": above} if above else {})} for name, above in ORDER.items()}


class Run:
    """A run that has ended: its events, the seconds of its whole process, and what processes used."""

    def __init__(self, db: Path, seconds: float, watched: Processes) -> None:
        self.db, self.whole = db, seconds
        self.cpu = watched.stop()
        self.peak_mb = watched.peak_mb
        with closing(Reader(db)) as reader:
            self.id = reader.run("last").run

    def events(self) -> Iterator[ev.Event]:
        with closing(Reader(self.db)) as reader:
            for _, event in reader.events(self.id):
                yield event

    @property
    def makespan(self) -> float:
        """Seconds from the first event to the last."""
        first = last = 0.0
        for event in self.events():
            first, last = first or event.at, event.at
        return last - first

    def hops(self) -> list[float]:
        """Seconds between the ends of steps, without the first ones, which start processes."""
        ends = [event.at for event in self.events() if isinstance(event, ev.StepSucceeded)]
        return [after - before for before, after in pairwise(ends[20:])]

    def late_lines(self) -> list[float]:
        """Seconds from the time that each log line says to the time at which the engine took it."""
        with closing(Reader(self.db)) as reader:
            return [line.at - float(line.text) for line in reader.logs(self.id, limit=100_000)]


def resident(roots: dict[str, int]) -> dict[tuple[str, int], float]:
    """Megabytes that these processes, and all that they have started, have now: by what they are and number."""
    found: dict[tuple[str, int], float] = {}
    rest = list(roots.items())
    while rest:
        name, pid = rest.pop()
        with suppress(OSError, IndexError):  # it has ended
            found[name, pid] = int(_status(pid).partition("VmRSS:")[2].split()[0]) / 1024
            root = name.partition("/")[0]
            rest += [(_program(child, root), child) for child in _children(pid)]
    return found


@contextmanager
def started(file: Path, tasks: Iterable[dict[str, Any]], workers: int, roots: dict[str, int]) -> Iterator[Any]:
    """An engine that executes these tasks. What is yielded waits for its end and returns the run."""
    lines = file.with_name("tasks.jsonl")
    with lines.open("w") as out:
        out.writelines(json.dumps(task) + "\n" for task in tasks)
    db = file.with_name(f"{time.time_ns()}.db")
    call = ["run", str(file), "--tasks", str(lines), "--workers", str(workers), "--db", str(db), "--json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(file.parent / "config")}
    began = time.perf_counter()
    with file.with_name("said").open("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "agentdeck", *call],
            env=env,
            cwd=file.parent,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        watched = Processes({"engine": process.pid, **roots})

        def ended() -> Run:
            code = process.wait()
            seconds = time.perf_counter() - began
            assert code == 0, file.with_name("said").read_text()[-3000:]
            return Run(db, seconds, watched)

        try:
            yield ended
        finally:
            process.kill()
            process.wait()


def ran(file: Path, tasks: Iterable[dict[str, Any]], workers: int, roots: dict[str, int]) -> Run:
    with started(file, tasks, workers, roots) as ended:
        found: Run = ended()
        return found


def p50_p95(spent: list[float]) -> tuple[float, float]:
    cuts = quantiles(spent, n=20)
    return cuts[9], cuts[18]


def wait_for(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "too late"
        time.sleep(0.01)

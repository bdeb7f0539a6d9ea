"""Whether limits hold as a provider's server counts: three processes, kills and changes, a server that accepts
late.

`python -m benchmarks.limits` prints one line. The deck has several providers, which are so many experiments at
once. All is scaled: a window of SECONDS stands for one of a minute, and the server accepts up to a fortieth of it
late (1.5 s of a minute). One answer in twenty takes longer than a window. Every so often one of three processes
on one store is killed with SIGKILL, in the middle of its calls, and resumed; the limits are lowered to half and
raised again, live.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PROCESSES = 3


class Setup(NamedTuple):
    """What is tried. `limit` requests in `seconds` at each of `providers`, for so many `windows`, with a kill
    every `kills` windows and a change of the limits every `changes` windows."""

    providers: int = 8
    limit: int = 40
    seconds: float = 6.0
    windows: int = 125
    kills: float = 12.0
    changes: float = 20.0
    slow: float = 1 / 40
    seed: int = 1


class Found(NamedTuple):
    """How many windows there were, in how many of them the server counted more than the limit, the most in one as
    a share of the limit, and how much of the limits was used without and with the time after kills."""

    windows: int
    exceeded: int
    most: float
    used: float
    kills: int


class Span(NamedTuple):
    """A limit that was in force, from when until when."""

    begin: float
    end: float
    limit: int


class Trial:
    """Processes that work on one store, and what their server counted."""

    def __init__(self, folder: Path, setup: Setup, agentdeck: str) -> None:
        self.folder, self.setup = folder, setup
        self._random = Random(setup.seed)
        self._agentdeck = agentdeck
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.kills = 0
        self._counts = folder / "counts"
        slow = str(setup.seconds * setup.slow)
        self._server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.limit_server", str(self._counts), slow, str(setup.seed)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        self._write(int(self._server.stdout.readline()))

    def _write(self, port: int) -> None:
        names, rate = [f"p{n}" for n in range(self.setup.providers)], self._rate(self.setup.limit)
        at = f"http://127.0.0.1:{port}"
        deck = {
            "agentdeck": 1,
            "providers": {n: {"type": "openai", "url": f"{at}/{n}", "limits": {"requests": rate}} for n in names},
            "models": {n: {"provider": n, "id": n} for n in names},
        }
        agents = {n: {"prompt": f"{n} ${{inputs.{n}}}", "model": n, "timeout": "2m", "retry": 5} for n in names}
        work = {"agentdeck": 1, "name": "limits", "inputs": dict.fromkeys(names, "string"), "agents": agents}
        (self.folder / "deck.yaml").write_text(json.dumps(deck))
        (self.folder / "w.yaml").write_text(json.dumps(work))
        tasks = int(self.setup.limit * (self.setup.windows + 2))
        with (self.folder / "t.jsonl").open("w") as file:
            for _ in range(tasks):
                file.write(json.dumps({name: self._shape() for name in names}) + "\n")

    def _shape(self) -> str:
        """Most answers are short, one in twenty takes longer than the window."""
        seconds = self.setup.seconds
        takes = seconds * 1.2 if self._random.random() < 0.05 else self._random.uniform(0.01, 0.1) * seconds
        return f"{self._random.randint(1, 4)}x{takes:.2f}"

    def _rate(self, count: int) -> str:
        return f"{count}/{self.setup.seconds:g}s"

    def call(self, *args: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._agentdeck, *args, "--db", str(self.folder / "l.db")],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start(self) -> None:
        started = {}
        for _ in range(PROCESSES):
            work, tasks = str(self.folder / "w.yaml"), str(self.folder / "t.jsonl")
            workers = str(8 * self.setup.providers)
            process = self.call("run", work, "--tasks", tasks, "--workers", workers, "--json")
            started[process.pid] = process
        latest = time.monotonic() + 60
        while len(runs := self._runs()) < PROCESSES:
            if time.monotonic() > latest:
                raise RuntimeError("the runs do not begin")
            time.sleep(0.05)
        self._processes = {run: started[pid] for run, pid in runs.items()}

    def _runs(self) -> dict[str, int]:
        """The process of each run."""
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(self.folder / "l.db")) as db:
            return dict(db.execute("SELECT run, pid FROM runs"))
        return {}

    def run(self) -> list[Span]:
        """Kill and change until the time is over. Returns the limits that were in force."""
        setup, begin = self.setup, time.time()
        end = begin + setup.windows * setup.seconds
        kill, change = begin + setup.kills * setup.seconds, begin + setup.changes * setup.seconds
        spans, since, count = list[Span](), begin, setup.limit
        while (now := time.time()) < end:
            if now >= kill:
                kill = now + setup.kills * setup.seconds
                run = self._random.choice(list(self._processes))
                self._processes[run].kill()
                self._processes[run].wait()
                self._processes[run] = self.call("resume", run, "--json")
                self.kills += 1
            if now >= change:
                change = now + setup.changes * setup.seconds
                spans.append(Span(since, time.time(), count))
                count = setup.limit // 2 if count == setup.limit else setup.limit
                rates = [f"p{n}.requests={self._rate(count)}" for n in range(setup.providers)]
                left = list(self._processes)
                while left:  # a run that was just resumed takes no orders yet
                    calls = {run: self.call("limits", run, *rates) for run in left}
                    left = [run for run, process in calls.items() if process.wait(60)]
                since = time.time()
            time.sleep(self._random.uniform(0.05, 0.15))
        return [*spans, Span(since, end, count)]

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._server.kill()
        self._server.wait()

    def counted(self) -> dict[str, list[float]]:
        found = defaultdict(list)
        for line in self._counts.read_text().splitlines():
            at, provider, _ = line.split()
            found[provider].append(float(at))
        return {name: sorted(times) for name, times in found.items()}


def measure(setup: Setup, agentdeck: str) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder), setup, agentdeck)
        try:
            trial.start()
            spans = trial.run()
        finally:
            trial.close()
        return evaluate(trial.counted(), spans, setup.seconds, trial.kills)


def evaluate(counted: dict[str, list[float]], spans: list[Span], seconds: float, kills: int) -> Found:
    """Each request ends a window of which it is the last; of windows that do not overlap, as many as fit are said
    to be exceeded that have such a one in them. A lowered limit holds once a window has passed since."""
    windows = exceeded = 0
    most = possible = made = 0.0
    for times in counted.values():
        for n, span in enumerate(spans):
            begin = max(span.begin + (seconds if n else 0.0), times[0])
            windows += int((span.end - begin) / seconds)
            last = -1e9
            for i in range(bisect_left(times, begin), bisect_right(times, span.end)):
                inside = i + 1 - bisect_right(times, max(times[i] - seconds, begin - 1e-9 if n else 0.0))
                most = max(most, inside / span.limit)
                if inside > span.limit and times[i] >= last + seconds:
                    exceeded, last = exceeded + 1, times[i]
            whole = int((span.end - begin) / seconds) * seconds
            made += bisect_left(times, begin + whole) - bisect_left(times, begin)
            possible += whole / seconds * span.limit
    return Found(windows, exceeded, most, made / possible, kills)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agentdeck", default=str(Path(sys.executable).with_name("agentdeck")))
    for name, value in Setup()._asdict().items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    given = vars(parser.parse_args())
    agentdeck = given.pop("agentdeck")
    found = measure(Setup(**given), agentdeck)
    print(
        f"{found.windows} windows, {found.kills} kills: {found.exceeded} exceeded, at most {found.most:.1%} of"
        f" the limit, {found.used:.1%} used"
    )


if __name__ == "__main__":
    main()

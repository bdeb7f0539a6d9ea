"""The proof: processes on one file, 64 workers each, kill -9 and resume, limits turned both ways. In no window
does the provider see more than the limit, and the limit is used while there is work."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentdeck.store.reader import Reader
from tests.engine.window import worst
from tests.waiting import until

ROOT = Path(__file__).parents[2]
DECK = """
agentdeck: 1
limits: { workers: 64 }
providers:
  far: { type: simulated, limits: { LIMITS } }
models: { m: { provider: far, id: m } }
tiers: { execution: [m] }
"""
WORK = """
agentdeck: 1
name: crowd
inputs: { n: integer }
agents:
  a: { prompt: "${inputs.n} ", max_output: 30 }
"""


class Crowd:
    """Processes that work on one store, and the calls that their provider saw."""

    def __init__(self, folder: Path, limits: str, tasks: int) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        (folder / "deck.yaml").write_text(DECK.replace("LIMITS", limits))
        (folder / "w.yaml").write_text(WORK)
        (folder / "t.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(tasks)))
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        call = [
            sys.executable,
            "-m",
            "tests.engine.crowd",
            str(self.calls),
            *args,
            "--db",
            str(self.folder / "c.db"),
        ]
        process = subprocess.Popen(
            [*call, "--json"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.processes.append(process)
        return process

    def run(self) -> subprocess.Popen[bytes]:
        work, tasks = str(self.folder / "w.yaml"), str(self.folder / "t.jsonl")
        return self.start("run", work, "--tasks", tasks, "--workers", "64")

    def runs(self) -> list[str]:
        reader = Reader(self.folder / "c.db")
        try:
            return sorted(row.run for row in reader.runs())
        finally:
            reader.close()

    def ask(self, *args: str) -> None:
        call = [sys.executable, "-m", "agentdeck.cli.main", *args, "--db", str(self.folder / "c.db")]
        subprocess.run(call, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=60)

    def seen(self) -> list[tuple[float, int]]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return sorted((float(at), int(tokens)) for at, tokens in map(str.split, lines))

    def wait_for(self, calls: int) -> None:
        until(lambda: len(self.seen()) >= calls, 30)

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(60)


def used(seen: list[tuple[float, int]], begin: float, end: float, limit: float, seconds: float) -> float:
    """The share of the limit that was used between two moments, counted from a call to the same place in a later
    window: whole windows only."""
    inside = [at for at, _ in seen if begin <= at < end]
    windows = int((end - inside[0]) / (seconds * 1.01))
    return sum(at < inside[0] + windows * seconds * 1.01 for at in inside) / (windows * limit * 1.01)


def test_two_processes_and_a_kill_stay_within_the_limit(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path, "requests: 40/s, tokens: 2500/s", tasks=110)
    try:
        first = crowd.run()
        crowd.wait_for(1)
        mine = crowd.runs()[0]
        other = crowd.run()
        crowd.wait_for(50)
        time.sleep(0.3)  # nothing is on its way to the provider, which would count as late as it may arrive
        first.kill()
        first.wait()
        again = crowd.start("resume", mine)
        assert (other.wait(90), again.wait(90)) == (0, 0)
        seen = crowd.seen()
    finally:
        crowd.end()
    assert len(seen) >= 220
    assert worst(seen, 1.0) <= 40
    assert worst(seen, 1.0, tokens=True) <= 2500
    assert used(seen, seen[0][0], seen[0][0] + 3.1, 40, 1.0) >= 0.3, "on a busy machine; the soak test wants more"


@pytest.mark.soak
def test_limits_hold_through_kills_and_changes(tmp_path: Path) -> None:
    """A minute: windows of three seconds, a run killed and resumed six times, limits down and up again."""
    crowd = Crowd(tmp_path, "requests: 150/3s, tokens: 9000/3s, concurrent: 40", tasks=3000)
    changes: list[tuple[float, int]] = []
    try:
        process = crowd.run()
        crowd.wait_for(1)
        mine = crowd.runs()[0]
        crowd.run()
        for turn in range(6):
            time.sleep(7)
            process.kill()
            process.wait()
            process = crowd.start("resume", mine)
            if turn in (1, 3):
                time.sleep(2)
                limit = 60 if turn == 1 else 150
                for run in crowd.runs():
                    crowd.ask("limits", run, f"far.requests={limit}/3s")
                changes.append((time.time(), limit))
        time.sleep(7)
        end = time.time()
    finally:
        crowd.end()
    seen = [one for one in crowd.seen() if one[0] < end]
    lowered, raised = changes[0][0], changes[1][0]
    assert worst(seen, 3.0) <= 150
    assert worst(seen, 3.0, tokens=True) <= 9000
    between = [one for one in seen if lowered + 3.0 <= one[0] < raised - 1.0]
    assert worst(between, 3.0) <= 60
    assert used(seen, seen[0][0], lowered - 1.0, 150, 3.0) >= 0.95
    assert used(between, lowered + 3.0, raised - 1.0, 60, 3.0) >= 0.95
    assert used(seen, raised, end, 150, 3.0) >= 0.95

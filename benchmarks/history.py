"""How fast history answers: 100,000 runs and 1,000,000 events in one file, and what each page of them costs.

    python benchmarks/history.py [--runs 100000] [--keep FILE]

Prints the median and the worst of 20 calls per question, in milliseconds. Fails when a page takes over 100 ms.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentdeck.store.reader import Reader
from agentdeck.store.schema import open_for_writing

WORKFLOWS = ("order", "code_review", "documents", "audit", "content")
STATES = ("done",) * 90 + ("failed",) * 7 + ("cancelled",) * 2 + ("running",)
EVENTS = 10
NEWEST = 1_789_000_000.0
MOST = 100.0


def build(path: Path, runs: int) -> sqlite3.Connection:
    """A store with so many runs of ten events each. The rows are those that the program writes."""
    chance = random.Random(1)
    connection = open_for_writing(path)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO definitions VALUES ('i', '{}')")
    for n in range(runs):
        workflow = WORKFLOWS[n % len(WORKFLOWS)]
        started = NEWEST - 60.0 * (runs - n)
        tags = [["nightly"], ["release", f"v{n % 50}"], [], []][n % 4]
        source = {"file": f"/srv/agents/{workflow}/{workflow}.yaml", "folder": f"/srv/agents/{workflow}",
                  "tasks": f"/srv/data/batch-{n:06}.jsonl"}  # fmt: skip
        state = chance.choice(STATES)
        connection.execute(
            "INSERT INTO runs (run, workflow, identity, state, started, ended, tags, source, tasks_total,"
            " tasks_done) VALUES (?, ?, 'i', ?, ?, ?, ?, ?, 2, 2)",
            (f"r{n:08}", workflow, state, started, started + 9, json.dumps(tags), json.dumps(source)),
        )
        connection.executemany(
            "INSERT INTO events VALUES (?, ?, ?, 'step_started', '1', ?, ?, NULL)",
            [
                (f"r{n:08}", seq, started + seq, f"agent{seq}", '{"agent":"a","attempt":1,"ready":1.0}')
                for seq in range(1, EVENTS + 1)
            ],
        )
    connection.execute("COMMIT")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def measure(ask: Callable[[], Any], times: int = 20) -> tuple[float, float, Any]:
    """Median and worst milliseconds of so many calls, and what the last one answered."""
    took, answer = [], None
    for _ in range(times):
        since = time.perf_counter()
        answer = ask()
        took.append((time.perf_counter() - since) * 1000)
    return statistics.median(took), max(took), answer


def questions(reader: Reader, runs: int) -> dict[str, Callable[[], Any]]:
    middle = (NEWEST - 60.0 * (runs // 2), f"r{runs // 2:08}")
    last = (NEWEST - 60.0 * (runs - 60), "r00000060")
    return {
        "newest page": lambda: reader.runs(50),
        "page in the middle": lambda: reader.runs(50, before=middle),
        "last page": lambda: reader.runs(50, before=last),
        "1,000 runs": lambda: reader.runs(1000),
        "of a workflow": lambda: reader.runs(50, workflow="audit"),
        "failed": lambda: reader.runs(50, state="failed"),
        "running": lambda: reader.runs(50, state="running"),
        "interrupted": lambda: reader.runs(50, state="interrupted"),
        "paused (none)": lambda: reader.runs(50, state="paused"),
        "failed of a workflow": lambda: reader.runs(50, workflow="audit", state="failed"),
        "with a common tag": lambda: reader.runs(50, tag="nightly"),
        "with a tag, and failed": lambda: reader.runs(50, tag="nightly", state="failed"),
        "with a rare tag": lambda: reader.runs(50, tag="v49"),
        "with a tag that none has": lambda: reader.runs(50, tag="weekly"),
        "a day, long ago": lambda: reader.runs(50, since=last[0], until=last[0] + 86_400),
        "text that many have": lambda: reader.runs(50, text="review"),
        "text that one has": lambda: reader.runs(50, text="batch-000777"),
        "text that none has": lambda: reader.runs(50, text="no such text"),
        "two letters that none has": lambda: reader.runs(50, text="zq"),
        "text, workflow and state": lambda: reader.runs(50, text="batch-0007", workflow="audit", state="failed"),
        "one run": lambda: reader.run(f"r{runs // 2:08}"),
        "its events": lambda: list(reader.events(f"r{runs // 2:08}")),
        "a run that is not there": lambda: _refused(lambda: reader.run("q00000000")),
    }


def _refused(ask: Callable[[], object]) -> None:
    try:
        ask()
    except Exception:
        return
    raise AssertionError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="build the file here, or use it if it is there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.keep or Path(folder) / "history.db"
        if not path.exists():
            since = time.perf_counter()
            build(path, given.runs).close()
            print(f"built in {time.perf_counter() - since:.1f} s, {path.stat().st_size / 1e6:.0f} MB")
        reader = Reader(path)
        slow = 0
        print(f"{'question':<28}{'rows':>6}{'median':>10}{'worst':>10}  ms")
        for name, ask in questions(reader, given.runs).items():
            median, worst, answer = measure(ask)
            rows = len(answer) if isinstance(answer, list) else 1
            print(f"{name:<28}{rows:>6}{median:>10.2f}{worst:>10.2f}")
            slow += median > MOST
        reader.close()
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())

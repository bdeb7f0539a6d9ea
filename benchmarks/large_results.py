"""Steps per second whose results are 5 MB of text, on disk, beside SQLite alone.

    python -m benchmarks.large_results [--orders 12] [--turns 3]

Both write the same number of different texts with `synchronous = FULL`, in alternating turns, each in a process
of its own. SQLite commits each text by itself, and does nothing else.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from statistics import median

from agentdeck.store.schema import open_for_writing
from benchmarks import costs
from benchmarks.graphs import ORDER

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=12)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--one", choices=["run", "sqlite"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        file = Path(folder) / "large.db"
        if given.one:
            print(json.dumps(_run(given.orders, file) if given.one == "run" else _sqlite(given.orders, file)))
            return
    turns = [[_one(what, given.orders) for what in ("run", "sqlite")] for _ in range(given.turns)]
    rate, floor = (median(turn[at][0] for turn in turns) for at in (0, 1))
    wal, most = (max(turn[0][at] for turn in turns) for at in (1, 2))
    print(
        f"{rate:.1f} steps/s, SQLite alone {floor:.1f}: {rate / floor:.0%}; WAL {wal:.0f} MB, peak {most:.0f} MB"
    )


def _one(what: str, orders: int) -> list[float]:
    call = [sys.executable, "-m", "benchmarks.large_results", "--one", what, "--orders", str(orders)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _run(orders: int, file: Path) -> list[float]:
    """Steps per second from the first event to the last, the largest WAL, and the peak of memory."""
    sizes = [0]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            with suppress(OSError):
                sizes.append(file.with_name(file.name + "-wal").stat().st_size)

    looking = threading.Thread(target=look)
    looking.start()
    costs.large(orders, file)
    ended.set()
    looking.join()
    with closing(sqlite3.connect(file)) as connection:
        ((seconds,),) = connection.execute("SELECT max(at) - min(at) FROM events").fetchall()
    return [orders * len(ORDER) / seconds, max(sizes) / 1e6, costs.peak()]


def _sqlite(orders: int, file: Path) -> list[float]:
    """Texts per second."""
    with closing(open_for_writing(file)) as connection:
        number = orders * len(ORDER)
        texts = [f'"{n} {"x" * costs.LARGE}"' for n in range(4)]
        begin = time.perf_counter()
        for n in range(number):
            connection.execute("INSERT INTO results VALUES (?, ?, ?)", (str(n), texts[n % 4], costs.LARGE))
        return [number / (time.perf_counter() - begin)]


if __name__ == "__main__":
    main()

"""Measures how costs grow with the size of a run, and fails where one grows faster than it may.

    python -m benchmarks.growth [WHAT]…                  everything, or these rows
    python -m benchmarks.growth --one WHAT SIZE          one measurement, as JSON

Each row is measured at three sizes, each in a process of its own. The exponent is the slope between the smallest
and the largest: 1 is linear, 0 is flat. Seconds are CPU time, so that other programs do not disturb them.
The exit code is 1 where an exponent is above the most of its row.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import log
from pathlib import Path

from benchmarks import costs

ROOT = Path(__file__).resolve().parent.parent
#: The most exponent of a cost that is in proportion to the size.
LINEAR = 1.1
#: The same for one that should not depend on the size; start-up and caches vary a little.
FLAT = 0.3


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured at which sizes, in which unit, and the most exponent. `repeats`: the least of so many."""

    title: str
    measure: Callable[[int, Path], float]
    sizes: tuple[int, int, int]
    unit: str
    most: float
    repeats: int = 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how costs grow with the size of a run.")
    parser.add_argument("what", nargs="*", choices=[[], *ROWS], metavar="WHAT", help=", ".join(ROWS))
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "SIZE"))
    parser.add_argument("--stores", type=Path, help="recorded runs of these sizes are made here, and used again")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stores = asked.stores or Path(folder)
        if asked.one:
            what, size = asked.one
            print(json.dumps(ROWS[what].measure(int(size), stores)))
            return
        print("| what | sizes | cost | exponent | most |\n|---|---|---|---|---|")
        failed = [what for what in asked.what or ROWS if not _print(what, ROWS[what], stores)]
    if failed:
        sys.exit(f"grows faster than it may: {', '.join(failed)}")


def _print(what: str, row: Row, stores: Path) -> bool:
    """Measure and print one row. Returns whether it grows no faster than it may."""
    measured = [min(_one(what, size, stores) for _ in range(row.repeats)) for size in row.sizes]
    found = exponent(row.sizes, measured)
    sizes = " / ".join(f"{size:,}" for size in row.sizes)
    shown = " / ".join(f"{cost:,.2f}" if cost < 100 else f"{cost:,.0f}" for cost in measured)
    print(f"| {row.title} | {sizes} | {shown} {row.unit} | {found:.2f} | {row.most:g} |", flush=True)
    return found <= row.most


def _one(what: str, size: int, stores: Path) -> float:
    """One measurement in a process of its own."""
    call = [sys.executable, "-m", "benchmarks.growth", "--stores", str(stores), "--one", what, str(size)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        sys.exit(f"{what} at {size} failed: {done.stderr.strip().splitlines()[-1]}")
    cost: float = json.loads(done.stdout.splitlines()[-1])
    return cost


def exponent(sizes: tuple[int, ...], measured: list[float]) -> float:
    """The exponent of the growth between the first and the last size."""
    return log(measured[-1] / measured[0]) / log(sizes[-1] / sizes[0])


ORDERS = (1_000, 4_000, 16_000)
ROWS = {
    "each": Row("`each` over n items, in memory", costs.each, (1_000, 10_000, 100_000), "s", LINEAR),
    "orders": Row("n orders on disk", costs.orders, ORDERS, "s", LINEAR),
    "disk": Row("n orders on disk, size", costs.disk, ORDERS, "bytes a step", FLAT),
    "show": Row("`show` of n orders", costs.command("show", "last"), ORDERS, "s", FLAT),
    "limits": Row("`limits` of n orders", costs.command("limits", "last"), ORDERS, "s", FLAT),
    "why": Row("`why` in n orders", costs.command("why", "last", "payment"), ORDERS, "s", FLAT),
    "open": Row("the console opens n orders, until they are shown", costs.opened, ORDERS, "s", FLAT),
    "runs": Row("`runs` of n runs", costs.runs, (1_000, 5_000, 20_000), "s", FLAT),
    "history": Row("the console lists n runs", costs.history, (1_000, 5_000, 20_000), "s", FLAT),
    "join": Row("definition with a join over n needs", costs.join, (2_500, 5_000, 10_000), "s", LINEAR, 2),
    "graph": Row("a run of a graph of n agents", costs.graph, (1_250, 2_500, 5_000), "s", LINEAR, 2),
    "workers": Row("4,000 orders on disk, n workers", costs.workers, (64, 256, 1_000), "s", FLAT),
    "streams": Row("n prompts that stream at once", costs.streams, (50, 160, 500), "s", LINEAR),
    "memory": Row("n orders in memory, peak", costs.memory, ORDERS, "MB", FLAT),
    "tasks": Row("n tasks of one step on disk, peak", costs.tasks, (1_000, 8_000, 64_000), "MB", FLAT),
    "large": Row("n orders × 5 × 5 MB in memory, peak", costs.large_results, (15, 30, 60), "MB", FLAT),
    "large-disk": Row("n orders × 5 × 5 MB on disk, peak", costs.large_on_disk, (10, 20, 40), "MB", FLAT),
}

if __name__ == "__main__":
    main()

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
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

from benchmarks.graphs import ORDER

ROOT = Path(__file__).resolve().parent.parent
#: The most exponent of a cost that is in proportion to the size.
LINEAR = 1.1
#: The same for one that should not depend on the size; start-up and caches vary a little.
FLAT = 0.3
WORKERS = 64
#: Bytes of each large result, and workers that make them.
LARGE, FEW = 5_000_000, 8


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured at which sizes, in which unit, and the most exponent. `repeats`: the least of so many."""

    title: str
    measure: Callable[[int], float]
    sizes: tuple[int, int, int]
    unit: str
    most: float
    repeats: int = 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how costs grow with the size of a run.")
    parser.add_argument("what", nargs="*", choices=[[], *ROWS], metavar="WHAT", help=", ".join(ROWS))
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "SIZE"))
    asked = parser.parse_args()
    if asked.one:
        what, size = asked.one
        print(json.dumps(ROWS[what].measure(int(size))))
        return
    print("| what | sizes | cost | exponent | most |\n|---|---|---|---|---|")
    failed = [what for what in asked.what or ROWS if not _print(what, ROWS[what])]
    if failed:
        sys.exit(f"grows faster than it may: {', '.join(failed)}")


def _print(what: str, row: Row) -> bool:
    """Measure and print one row. Returns whether it grows no faster than it may."""
    costs = [min(_one(what, size) for _ in range(row.repeats)) for size in row.sizes]
    found = exponent(row.sizes, costs)
    sizes = " / ".join(f"{size:,}" for size in row.sizes)
    shown = " / ".join(f"{cost:,.2f}" if cost < 100 else f"{cost:,.0f}" for cost in costs)
    print(f"| {row.title} | {sizes} | {shown} {row.unit} | {found:.2f} | {row.most:g} |", flush=True)
    return found <= row.most


def _one(what: str, size: int) -> float:
    """One measurement in a process of its own."""
    call = [sys.executable, "-m", "benchmarks.growth", "--one", what, str(size)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        sys.exit(f"{what} at {size} failed: {done.stderr.strip().splitlines()[-1]}")
    cost: float = json.loads(done.stdout.splitlines()[-1])
    return cost


def exponent(sizes: tuple[int, ...], costs: list[float]) -> float:
    """The exponent of the growth between the first and the last size."""
    return log(costs[-1] / costs[0]) / log(sizes[-1] / sizes[0])


# Measurements ---------------------------------------------------------------------------------------------------


def _run(
    agents: dict[str, tuple[Callable[..., object], dict[str, Any]]], tasks: int, workers: int, db: Path | None
) -> float:
    """CPU seconds of a run."""
    from agentdeck import Workflow
    from agentdeck.cli.run_process import new_runner
    from agentdeck.engine import launch

    workflow = Workflow("growth")
    for name, (function, keys) in agents.items():
        workflow.agent(name=name, **keys)(function)

    source: Iterator[dict[str, int]] = iter([{}] * tasks)
    wanted = launch.Launch(workflow.definition, ROOT, {}, source, workers, workflow.functions, db)
    with new_runner() as runner:
        begin = time.process_time()
        outcome = runner.run(launch.run(wanted))
        assert outcome.view.state == "done", outcome.view.state
        return time.process_time() - begin


def each(items: int) -> float:
    """One task with an `each` over so many maps."""

    async def names() -> list[dict[str, object]]:
        return [{"id": i, "name": f"item {i}"} for i in range(items)]

    async def work(item: dict[str, object]) -> int:
        return 1

    async def count(work: list[int]) -> int:
        return len(work)

    agents: dict[str, tuple[Callable[..., object], dict[str, Any]]] = {
        "names": (names, {}),
        "work": (work, {"needs": ["names"], "each": "names"}),
        "count": (count, {"needs": ["work"]}),
    }
    return _run(agents, 1, WORKERS, None)


def _orders(tasks: int, db: Path | None, result: object = 1, workers: int = WORKERS) -> float:
    async def agent() -> object:
        return "".join(result) if isinstance(result, list) else result  # a list: a new text each time

    return _run({name: (agent, {"needs": list(above)}) for name, above in ORDER.items()}, tasks, workers, db)


def orders(tasks: int) -> float:
    """Orders on disk."""
    with tempfile.TemporaryDirectory() as folder:
        return _orders(tasks, Path(folder) / "growth.db")


def memory(tasks: int) -> float:
    """Peak memory of orders in memory, in MB."""
    _orders(tasks, None)
    return _peak()


def large_results(tasks: int) -> float:
    """Peak memory of orders with large results, in MB."""
    _orders(tasks, None, ["x" * (LARGE // 2)] * 2, FEW)
    return _peak()


def large_on_disk(tasks: int) -> float:
    """The same with a store."""
    with tempfile.TemporaryDirectory() as folder:
        _orders(tasks, Path(folder) / "growth.db", ["x" * (LARGE // 2)] * 2, FEW)
    return _peak()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def disk(tasks: int) -> float:
    """Bytes of the store after so many orders of five steps, per step."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "growth.db"
        _orders(tasks, file)
        return file.stat().st_size / (tasks * len(ORDER))


def command(*words: str) -> Callable[[int], float]:
    """CPU seconds of a command on a recorded run of so many orders, the start of the program included."""

    def measure(tasks: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "growth.db"
            _orders(tasks, file)
            before = _of_children()
            call = [str(Path(sys.executable).with_name("agentdeck")), *words, "--db", str(file)]
            subprocess.run(call, check=True, capture_output=True)
            return _of_children() - before

    return measure


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def join(needs: int) -> float:
    """CPU seconds to load and check a definition with a join over so many needs."""
    from agentdeck import Workflow

    async def agent() -> int:
        return 1

    def made(count: int) -> Workflow:
        workflow = Workflow("growth")
        for i in range(count):
            workflow.agent(name=f"a{i}")(agent)
        workflow.agent(name="last", needs=[f"a{i}" for i in range(count)])(agent)
        return workflow

    _ = made(2).definition  # imports everything
    workflow = made(needs)
    begin = time.process_time()
    _ = workflow.definition
    return time.process_time() - begin


ROWS = {
    "each": Row("`each` over n items, in memory", each, (2_000, 10_000, 50_000), "s", LINEAR),
    "orders": Row("n orders on disk", orders, (1_000, 4_000, 16_000), "s", LINEAR),
    "join": Row("definition with a join over n needs", join, (2_500, 5_000, 10_000), "s", LINEAR, 2),
    "show": Row("`show` of n orders", command("show", "last"), (1_000, 4_000, 16_000), "s", FLAT),
    "limits": Row("`limits` of n orders", command("limits", "last"), (1_000, 4_000, 16_000), "s", FLAT),
    "why": Row("`why` in n orders", command("why", "last", "payment"), (1_000, 4_000, 16_000), "s", FLAT),
    "memory": Row("n orders in memory, peak", memory, (1_000, 4_000, 16_000), "MB", FLAT),
    "large": Row("n orders × 5 × 5 MB in memory, peak", large_results, (15, 30, 60), "MB", FLAT),
    "large-disk": Row("n orders × 5 × 5 MB on disk, peak", large_on_disk, (10, 20, 40), "MB", FLAT),
    "disk": Row("n orders on disk, size", disk, (1_000, 4_000, 16_000), "bytes a step", FLAT),
}

if __name__ == "__main__":
    main()

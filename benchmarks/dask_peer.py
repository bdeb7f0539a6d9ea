"""A peer: Dask's threaded scheduler, from its package (extra `bench`). It has no store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.graphs import Needs


def run(needs: Needs, tasks: int, workers: int, db: Path | None, takes: dict[str, float]) -> float:
    """Seconds for so many tasks, as one graph, with as many threads as there are workers. An agent that yields
    gives up its thread's turn."""
    from dask.threaded import get

    assert db is None, "Dask has no store"

    def step(seconds: float | None, *above: int) -> int:
        if seconds is not None:
            time.sleep(seconds)
        return 1

    graph: dict[Any, Any] = {
        (number, name): (step, takes.get(name), *((number, need) for need in above))
        for number in range(tasks)
        for name, above in needs.items()
    }
    begin = time.perf_counter()
    results = get(graph, list(graph), num_workers=workers)
    seconds = time.perf_counter() - begin
    assert len(results) == len(graph)
    return seconds

"""One measurement in a process of its own: `python -m benchmarks.once WHO WHAT` prints one JSON object."""

from __future__ import annotations

import gc
import json
import resource
import sys
import tempfile
from pathlib import Path

from benchmarks import burr_peer, dask_peer, floor, langgraph_peer, subject
from benchmarks.graphs import ORDER, TAKES, Needs, bound, chain, fan, layered

WHO = {
    "agentdeck": subject.run,
    "asyncio": floor.run,
    "langgraph": langgraph_peer.run,
    "burr": burr_peer.run,
    "dask": dask_peer.run,
}
#: Where the steps take time: without opening and closing the store, which no schedule can help.
MAKESPAN = {**WHO, "agentdeck": subject.makespan}
#: What: graph, tasks, workers, on disk. A peer that is far slower gets fewer tasks: rates compare. The agents of
#: `timed` sleep (`-asyncio`: on its event loop, not uvloop's), those of a load that ends in `-yield` let other
#: coroutines run, and all others return at once.
LOADS: dict[str, tuple[Needs, int, int, bool]] = {
    "memory": (ORDER, 10_000, 64, False),
    "orders": (ORDER, 1_000, 64, False),
    "orders-disk": (ORDER, 1_000, 64, True),
    "disk": (ORDER, 10_000, 64, True),
    "fan": (fan(1000), 1, 64, False),
    "chain": (chain(1000), 1, 64, False),
    "chain-disk": (chain(1000), 1, 64, True),
    "timed": (ORDER, 200, 16, True),
    "layered": (layered(100, 100), 1, 64, False),
    "tasks-10k": (ORDER, 10_000, 64, False),
    "tasks-100k": (ORDER, 100_000, 64, False),
}
FEWER = {
    ("langgraph", "memory"): 2_000,
    ("langgraph", "disk"): 300,
    ("langgraph", "orders-disk"): 300,
    ("burr", "orders-disk"): 300,
}


def measure(who: str, what: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        if what == "core":
            return {"rate": 10_000 * len(ORDER) / subject.core(10_000)}
        if what == "starts":
            return subject.starts()
        if what == "dags":
            return subject.dags()
        if what == "commit":
            return {"seconds": floor.commit_seconds(Path(folder) / "commit.db")}
        if what.endswith("-asyncio"):
            sys.modules["uvloop"] = None  # type: ignore[assignment]  # as if it were not installed
        load = what.removesuffix("-yield").removesuffix("-asyncio")
        needs, tasks, workers, disk = LOADS[load]
        tasks = FEWER.get((who, load), tasks)
        timed = load == "timed"
        takes = TAKES if timed else dict.fromkeys(needs, 0.0) if what.endswith("-yield") else {}
        WHO[who](ORDER, 1, workers, None, {})  # what the first use imports and compiles is in no figure
        gc.collect()  # nor is what it left behind
        before = _peak_mb()
        run = (MAKESPAN if timed else WHO)[who]
        seconds = run(needs, tasks, workers, Path(folder) / "bench.db" if disk else None, takes)
        return {
            "seconds": seconds,
            "rate": tasks * len(needs) / seconds,
            "hop": seconds / len(needs),
            "peak_mb": _peak_mb(),
            "grown_mb": _peak_mb() - before,
            **({"ratio": seconds / bound(needs, takes, tasks, workers)} if timed else {}),
        }


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2])))

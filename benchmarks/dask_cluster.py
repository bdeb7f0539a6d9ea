"""A Dask cluster on 127.0.0.1, and what the bare client does with it.

python -m benchmarks.dask_cluster ADDRESS WHAT COUNT SECONDS    one measurement, as JSON
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.cluster_steps import burn, echo, wait
from benchmarks.graphs import ORDER

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
NAMES = ("worker-1", "worker-2")


class DaskCluster:
    """A scheduler and two workers, each a process of its own. Their output goes to a file of the folder."""

    name = "Dask"
    module = "benchmarks.dask_cluster"
    #: One graph, and a call of an actor for each step, are slower: 6.5 and 16 s for 2,000 orders, `map` 5.2 s.
    forms: ClassVar[tuple[str, ...]] = ("map",)
    bare_burn = "threads of two workers"
    #: The place with a cluster that the run starts.
    own_place = "{ type: dask, local: { workers: 2, slots: 100 } }"

    def __init__(self, folder: Path, threads: int = 100) -> None:
        self._folder, self._threads = folder, threads
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        place = folder / "scheduler.json"
        place.unlink(missing_ok=True)
        keys = ["--host", HOST, "--port", "0", "--no-dashboard", "--no-show", "--scheduler-file", str(place)]
        self._start("scheduler", "scheduler", *keys)
        while not (place.exists() and place.read_text().endswith("}")):
            assert self.processes["scheduler"].poll() is None, (folder / "cluster.log").read_text()
            time.sleep(0.02)
        self.address: str = json.loads(place.read_text())["address"]
        for name in NAMES:
            self.start_worker(name)

    def place(self, slots: int) -> dict[str, Any]:
        return {"type": "dask", "address": self.address, "slots": slots}

    def start_worker(self, name: str) -> None:
        keys = ["--nthreads", str(self._threads), "--memory-limit", "0", "--no-nanny", "--no-dashboard"]
        self._start(name, "worker", self.address, "--host", HOST, "--name", name, *keys)

    def _start(self, name: str, *call: str) -> None:
        with (self._folder / "cluster.log").open("ab") as said:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + call[0], *call[1:]],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def replace_worker(self, name: str) -> None:
        """Kill a worker, and start another."""
        self.processes[name].kill()
        self.processes[name].wait()
        self.start_worker(name)

    def close(self) -> None:
        for process in reversed(self.processes.values()):
            process.kill()
            process.wait()


async def with_client(address: str, work: Callable[[Any], Coroutine[Any, Any, dict[str, Any]]]) -> dict[str, Any]:
    from distributed import Client

    async with Client(address, asynchronous=True) as client:  # type: ignore[no-untyped-call]
        await client.wait_for_workers(2)
        await asyncio.gather(*[client.submit(echo, n, pure=False) for n in range(400)])  # both workers are warm
        return await work(client)


def orders_as_graph(tasks: int, seconds: float) -> Callable[[Any], Any]:
    """All steps in one graph, one message to the scheduler; the last result of each task comes back."""

    async def work(client: Any) -> dict[str, Any]:
        graph: dict[Any, Any] = {
            f"{name}-{number}": (wait, seconds, *(f"{need}-{number}" for need in above))
            for number in range(tasks)
            for name, above in ORDER.items()
        }
        begin = time.perf_counter()
        results = await client.gather(client.get(graph, [f"confirm-{n}" for n in range(tasks)], sync=False))
        took = time.perf_counter() - begin
        assert sum(results) == tasks
        return {"seconds": took, "steps": tasks * len(ORDER)}

    return work


def orders_as_map(tasks: int, seconds: float) -> Callable[[Any], Any]:
    """One `map` per agent, which depends on the futures of those above it."""

    async def work(client: Any) -> dict[str, Any]:
        begin = time.perf_counter()
        futures: dict[str, list[Any]] = {}
        for name, above in ORDER.items():
            needs = [futures[need] for need in above]
            futures[name] = client.map(wait, [seconds] * tasks, *needs, key=f"{name}", pure=False)
        results = await client.gather(futures["confirm"])
        took = time.perf_counter() - begin
        assert sum(results) == tasks
        return {"seconds": took, "steps": tasks * len(ORDER)}

    return work


class Waiter:
    """A Dask actor: its calls go to the worker without the scheduler."""

    async def wait(self, seconds: float) -> int:
        return await wait(seconds)


def orders_with_actors(tasks: int, seconds: float) -> Callable[[Any], Any]:
    """An actor per worker, a call per step, and the graph in the client: what one would write by hand."""

    async def work(client: Any) -> dict[str, Any]:
        found = list((await client.scheduler.identity(n_workers=-1))["workers"].items())
        actors = [await client.submit(Waiter, actor=True, workers=[name], key=name) for name, _ in found]
        free = [asyncio.Semaphore(facts["nthreads"]) for _, facts in found]

        async def step(number: int) -> int:
            async with free[number % len(free)]:
                answer: int = await actors[number % len(free)].wait(seconds)
                return answer

        async def order(number: int) -> int:
            await step(number)
            await asyncio.gather(*(step(number) for _ in range(3)))
            return await step(number)

        begin = time.perf_counter()
        results = await asyncio.gather(*(order(number) for number in range(tasks)))
        took = time.perf_counter() - begin
        assert sum(results) == tasks
        return {"seconds": took, "steps": tasks * len(ORDER)}

    return work


def burning(steps: int, seconds: float) -> Callable[[Any], Any]:
    async def work(client: Any) -> dict[str, Any]:
        begin = time.perf_counter()
        await client.gather(client.map(burn, [seconds] * steps, pure=False))
        took = time.perf_counter() - begin
        return {"seconds": took, "share": steps * seconds / took / 2}

    return work


def round_trips(count: int, seconds: float) -> Callable[[Any], Any]:
    async def work(client: Any) -> dict[str, Any]:
        spent = []
        for n in range(count):
            begin = time.perf_counter()
            await client.submit(echo, n, pure=False)
            spent.append(time.perf_counter() - begin)
        return {"spent": spent}

    return work


WHAT = {
    "graph": orders_as_graph,
    "map": orders_as_map,
    "actors": orders_with_actors,
    "burn": burning,
    "trips": round_trips,
}


def main() -> None:
    address, what, count, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(with_client(address, WHAT[what](int(count), float(seconds))))))


if __name__ == "__main__":
    main()

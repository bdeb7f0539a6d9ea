"""A Ray cluster on loopback, and what a bare driver does with it. Ray listens on all addresses, so all of it, the
benchmark too, has to run in namespaces of its own, which also end what Ray leaves behind:

    unshare -rnpf --mount-proc .venv/ray/bin/python -m benchmarks.cluster --kind ray
    python -m benchmarks.ray_cluster ADDRESS WHAT COUNT SECONDS    one measurement, as JSON
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

from benchmarks.cluster_steps import burn, wait
from benchmarks.graphs import ORDER

ROOT = Path(__file__).resolve().parent.parent
PORT = 6379
NAMES = ("worker-1", "worker-2")


class RayCluster:
    """A head and two workers: the program that the tests start them with."""

    name = "Ray"
    module = "benchmarks.ray_cluster"
    forms: ClassVar[tuple[str, ...]] = ("refs", "awaits")
    bare_burn = "a process on each of two workers"
    own_place = ""

    def __init__(self, folder: Path) -> None:
        (short := folder / "r").mkdir()
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(short), "RAY_AUTH_MODE": "token"}
        os.environ |= {"RAY_AUTH_TOKEN": "token-of-the-benchmark-0123456789", "HOME": str(short)}
        self.address = f"127.0.0.1:{PORT}"
        program = ROOT / "tests" / "places" / "ray_nodes.py"
        with (folder / "cluster.log").open("ab") as said:
            nodes = subprocess.Popen(
                [sys.executable, "-P", str(program), str(short), str(PORT)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
            )
        self.processes: dict[str, subprocess.Popen[Any]] = {"ray": nodes}
        self._answer()
        self._tell("head")
        for name in NAMES:
            self._tell("worker", name, 1, {name: 1})  # Ray starts a process beforehand for each processor

    def _tell(self, *command: Any) -> None:
        pipe = self.processes["ray"].stdin
        assert pipe is not None
        print(json.dumps(command), file=pipe, flush=True)
        self._answer()

    def _answer(self) -> None:
        pipe = self.processes["ray"].stdout
        assert pipe is not None
        assert pipe.readline(), "Ray did not start"

    def place(self, slots: int) -> dict[str, Any]:
        return {"type": "ray", "address": self.address, "slots": slots}

    def close(self) -> None:
        pipe = self.processes["ray"].stdin
        assert pipe is not None
        pipe.close()
        self.processes["ray"].wait()


class Waiter:
    """One on each worker."""

    async def wait(self, seconds: float, *needs: int) -> int:
        return await wait(seconds, *needs)

    async def echo(self, value: Any) -> Any:
        return value


async def orders_of_refs(ray: Any, actors: list[Any], tasks: int, seconds: float) -> dict[str, Any]:
    """All calls are sent at once; their arguments are the results of others, which Ray waits for."""
    begin = time.perf_counter()
    last = []
    for number in range(tasks):
        call = actors[number % len(actors)].wait.remote
        refs: dict[str, Any] = {}
        for name, above in ORDER.items():
            refs[name] = call(seconds, *(refs[need] for need in above))
        last.append(refs["confirm"])
    results = await asyncio.gather(*last)
    took = time.perf_counter() - begin
    assert sum(results) == tasks
    return {"seconds": took, "steps": tasks * len(ORDER)}


async def orders_of_awaits(ray: Any, actors: list[Any], tasks: int, seconds: float) -> dict[str, Any]:
    """The driver awaits each call, 100 orders for each actor at once."""
    free = [asyncio.Semaphore(100) for _ in actors]

    async def order(number: int) -> int:
        call = actors[number % len(actors)].wait.remote
        async with free[number % len(actors)]:
            await call(seconds)
            await asyncio.gather(*(call(seconds) for _ in range(3)))
            answer: int = await call(seconds)
            return answer

    begin = time.perf_counter()
    results = await asyncio.gather(*(order(number) for number in range(tasks)))
    took = time.perf_counter() - begin
    assert sum(results) == tasks
    return {"seconds": took, "steps": tasks * len(ORDER)}


async def burning(ray: Any, actors: list[Any], steps: int, seconds: float) -> dict[str, Any]:
    made = ray.remote(burn)
    await asyncio.gather(*(made.remote(0.0) for _ in range(4)))
    begin = time.perf_counter()
    await asyncio.gather(*(made.remote(seconds) for _ in range(steps)))
    took = time.perf_counter() - begin
    return {"seconds": took, "share": steps * seconds / took / 2}


async def round_trips(ray: Any, actors: list[Any], count: int, seconds: float) -> dict[str, Any]:
    spent = []
    for n in range(count):
        begin = time.perf_counter()
        await actors[0].echo.remote(n)
        spent.append(time.perf_counter() - begin)
    return {"spent": spent}


WHAT: dict[str, Callable[[Any, list[Any], int, float], Coroutine[Any, Any, dict[str, Any]]]] = {
    "refs": orders_of_refs,
    "awaits": orders_of_awaits,
    "burn": burning,
    "trips": round_trips,
}


async def measure(address: str, what: str, count: int, seconds: float) -> dict[str, Any]:
    import ray

    ray.init(address=address, log_to_driver=False, configure_logging=False)
    made = ray.remote(num_cpus=0, max_concurrency=100)(Waiter)
    actors = [made.options(resources={name: 1}).remote() for name in NAMES]
    await asyncio.gather(*(actor.echo.remote(1) for actor in actors))
    return await WHAT[what](ray, actors, count, seconds)


def main() -> None:
    address, what, count, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(address, what, int(count), float(seconds)))))


if __name__ == "__main__":
    main()

"""What a call in a warm child process costs beside the same call in the engine, and 64 blocking calls at once.

    python -m benchmarks.places [--python .venv-crew/bin/python] [--calls 2000]

The verbs are called directly, without scheduler and store, alternately at both places.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import anyio

from agentdeck.agents.verb import AttemptContext, Verb, WorkflowContext
from agentdeck.api.workflow import Workflow
from agentdeck.places.local import LocalPlace
from agentdeck.places.place import Place
from agentdeck.places.process import ProcessPlace
from agentdeck.workflow.deck import LOCAL, DeckPlace
from agentdeck.workflow.model import Agent, Data

#: Blocking calls at once.
CROWD = 64
#: Seconds that each of them takes.
BLOCKED = 1.0
VALUE: dict[str, Data] = {"text": "x" * 1000, "numbers": list(range(100))}


async def echo(value: Any) -> Any:
    return value


def echo_blocking(value: Any) -> Any:
    return value


def block(value: float) -> float:
    time.sleep(value)
    return value


class Caller:
    """Calls one function at a place."""

    def __init__(self, place: Place, function: str) -> None:
        made = Workflow("places", inputs={"value": "any"})
        made.add("it", python=f"{Path(__file__).stem}:{function}")
        self._agent: Agent = made.definition.agents["it"]
        self._verb: Verb = place.prepare(
            self._agent, WorkflowContext(made.definition, Path(__file__).parent, anyio.sleep)
        )

    async def call(self, value: Data) -> float:
        """The seconds of one call."""
        scope: dict[str, Data] = {"inputs": {"value": value}, "needs": {}}
        work = AttemptContext("r", "1", "it", 1, self._agent, scope, {}, lambda *_: None, lambda: None)
        began = time.perf_counter()
        await self._verb.run(work)
        return time.perf_counter() - began


async def measure(calls: int, keys: dict[str, str]) -> None:
    child = ProcessPlace(DeckPlace("crew", "process", options=keys))
    local = LocalPlace(DeckPlace(LOCAL, LOCAL))
    for function in ("echo", "echo_blocking"):
        callers = {"engine": Caller(local, function), "process": Caller(child, function)}
        spent: dict[str, list[float]] = {name: [] for name in callers}
        for n in range(calls + 20):
            for name, caller in callers.items():
                seconds = await caller.call(VALUE)
                if n >= 20:
                    spent[name].append(seconds)
        for name, found in spent.items():
            p99 = quantiles(found, n=100)[-1]
            print(f"{function:14} {name:8} p50 {median(found) * 1000:6.3f} ms  p99 {p99 * 1000:6.3f} ms")
    blocking = Caller(child, "block")
    for what in ("cold", "warm"):
        began = time.perf_counter()
        await asyncio.gather(*(blocking.call(BLOCKED) for _ in range(CROWD)))
        print(f"{CROWD} blocking calls of {BLOCKED:g} s at once, {what}: {time.perf_counter() - began:.2f} s")
    await child.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", help="the interpreter of the children; default this one")
    parser.add_argument("--calls", type=int, default=2000)
    options = parser.parse_args()
    keys = {"python": str(Path(options.python).absolute())} if options.python else {}
    asyncio.run(measure(options.calls, keys))


if __name__ == "__main__":
    main()

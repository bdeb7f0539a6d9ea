"""What agentdeck costs around objects of frameworks.

    python -m benchmarks.frameworks            both figures
    python -m benchmarks.frameworks --profile  where the time of a graph as a step goes

A graph of LangGraph with 20 nodes, one after the other, as a step, beside the same `astream` alone: without
checkpoints, and with LangGraph's own AsyncSqliteSaver, which gives the same recovery. The turns alternate in
one process. And orders on disk beside one step with 10,000 inner events, and without it.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import tempfile
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

from agentdeck import Workflow
from agentdeck.agents.frameworks.framework import CallInput, Ended, Framework, InnerEvent, Result, Started
from agentdeck.agents.frameworks.known import loaded
from agentdeck.agents.frameworks.langgraph import MODES
from benchmarks.graphs import ORDER

NODES = 20
#: Calls of the graph in a turn, one after the other, and turns.
CALLS, TURNS = 30, 5
ORDERS, INNER = 5_000, 5_000


class State(TypedDict):
    n: int


def chain(nodes: int) -> Any:
    from langgraph.graph import START, StateGraph

    async def node(state: State) -> dict[str, int]:
        return {"n": state["n"] + 1}

    builder, before = StateGraph(State), START
    for number in range(nodes):
        builder.add_node(f"n{number}", node)
        builder.add_edge(before, f"n{number}")
        before = f"n{number}"
    return builder.compile()


async def alone(graph: Any, name: str = "") -> None:
    """CALLS calls; with a checkpointer each of them has a thread of its own, which begins with `name`."""
    for number in range(CALLS):
        config = {"configurable": {"thread_id": f"{name}{number}"}}
        async for _ in graph.astream({"n": 0}, config, stream_mode=MODES, subgraphs=True, version="v2"):
            pass


def one_agent(found: Any) -> Workflow:
    made = Workflow("bench", inputs={"n": "integer"})
    made.agent(found, name="graph", retry=1)
    return made


async def as_steps(graph: Any, db: Path | None, tasks: int = CALLS) -> None:
    """The same as steps of a run, at one worker."""
    await one_agent(graph).run(tasks=[{"n": 0} for _ in range(tasks)], workers=1, db=db)


async def graphs(folder: Path) -> None:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    graph = chain(NODES)
    async with AsyncSqliteSaver.from_conn_string(str(folder / "alone.db")) as saver:
        kept = graph.copy(update={"checkpointer": saver})
        ways: dict[str, Callable[[int], Awaitable[None]]] = {
            "astream alone": lambda turn: alone(graph),
            "astream alone, AsyncSqliteSaver": lambda turn: alone(kept, f"{turn}/"),
            "as steps, in memory": lambda turn: as_steps(graph, None),
            "as steps, on disk": lambda turn: as_steps(graph, folder / f"{turn}.db"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(TURNS + 1):
            for name, way in ways.items():
                begin = time.perf_counter()
                await way(turn)
                if turn:  # the first one imports
                    seconds[name].append((time.perf_counter() - begin) / CALLS)
    print(f"a graph of {NODES} nodes, {TURNS} turns of {CALLS} calls; milliseconds a call (least), beside alone")
    first, second = (median(seconds[name]) for name in list(ways)[:2])
    for name, all_of_it in seconds.items():
        mid = median(all_of_it)
        print(
            f"  {name:32} {mid * 1e3:7.2f} ({min(all_of_it) * 1e3:.2f})"
            f"  {mid / first:5.2f} ×  with the saver {mid / second:5.2f} ×"
        )


class Busy:
    """An object with so many inner steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps


class BusyFramework(Framework):
    def recognises(self, found: object) -> bool:
        return isinstance(found, Busy)

    async def call(self, found: Busy, given: CallInput) -> AsyncGenerator[InnerEvent, None]:
        for number in range(found.steps):
            yield Started(str(number), "", f"n{number % 20}", "node", {"n": number})
            yield Ended(str(number), {"n": number})
            await asyncio.sleep(0)
        yield Result(None)


def order() -> Workflow:
    made = Workflow("orders")

    async def work() -> int:
        return 1

    for name, above in ORDER.items():
        made.agent(name=name, needs=list(above))(work)
    return made


async def orders(folder: Path, turn: str, inner: int) -> float:
    """Steps a second of orders, with one run beside them that has so many inner steps."""
    beside = asyncio.create_task(one_agent(Busy(inner)).run(n=0, db=folder / f"busy{turn}.db"))
    begin = time.perf_counter()
    await order().run(tasks=[{} for _ in range(ORDERS)], workers=64, db=folder / f"orders{turn}.db")
    rate = ORDERS * len(ORDER) / (time.perf_counter() - begin)
    await beside
    return rate


async def memory(folder: Path, inner: int) -> float:
    """Megabytes that stay after a step with so many inner steps, beside what there was before it."""
    await one_agent(Busy(10)).run(n=0, db=folder / "small.db")
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    await one_agent(Busy(inner)).run(n=0, db=folder / f"memory{inner}.db")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (kept - before) / 1e6


async def events(folder: Path) -> None:
    loaded().objects["busy"] = BusyFramework()  # type: ignore[index]
    rates: dict[int, list[float]] = {0: [], INNER: []}
    for turn in range(3 + 1):
        for inner, found in rates.items():
            rate = await orders(folder, f"{turn}-{inner}", inner)
            if turn:
                found.append(rate)
    without, beside = median(rates[0]), median(rates[INNER])
    print(f"{ORDERS:,} orders, on disk, 64 workers, steps a second: {without:,.0f}")
    seconds = ORDERS * len(ORDER) * (1 / beside - 1 / without)
    each = seconds / (2 * INNER) * without
    print(f"  beside a step with {2 * INNER:,} inner events {beside:,.0f}: {beside / without:.1%}")
    print(f"  so an inner event costs as much as {each:.2f} steps")
    kept = {inner: await memory(folder, inner) for inner in (INNER // 5, INNER)}
    for inner, megabytes in kept.items():
        print(f"  memory that stays after {2 * inner:,} inner events: {megabytes:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", action="store_true", help="where the time of a graph as a step goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not options.profile:
            asyncio.run(graphs(folder))
            asyncio.run(events(folder))
            return
        profile = cProfile.Profile()
        graph = chain(NODES)
        asyncio.run(as_steps(graph, folder / "warm.db", 5))
        profile.enable()
        asyncio.run(as_steps(graph, folder / "profile.db", 100))
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()

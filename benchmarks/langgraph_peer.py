"""A peer: LangGraph, from its package (extra `bench`), as its documentation says to use it."""

from __future__ import annotations

import asyncio
import operator
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

from benchmarks.graphs import Needs


class State(TypedDict):
    steps: Annotated[int, operator.add]


def run(needs: Needs, tasks: int, workers: int, db: Path | None, takes: dict[str, float]) -> float:
    """Seconds for so many tasks; with `db`, each step is checkpointed by LangGraph's own SQLite saver.

    LangGraph has no pool over tasks: twice as many tasks go at once as there are workers, and where steps take
    time, a semaphore holds them to the workers.
    """
    return asyncio.run(_run(needs, tasks, workers, db, takes))


async def _run(needs: Needs, tasks: int, workers: int, db: Path | None, takes: dict[str, float]) -> float:
    if db is None:
        return await _measure(_graph(needs, takes, workers).compile(), len(needs), tasks, workers)
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async with AsyncSqliteSaver.from_conn_string(str(db)) as saver:
        return await _measure(
            _graph(needs, takes, workers).compile(checkpointer=saver), len(needs), tasks, workers
        )


def _graph(needs: Needs, takes: dict[str, float], workers: int) -> Any:
    from langgraph.graph import END, START, StateGraph

    slots = asyncio.Semaphore(workers)

    def node(name: str) -> Callable[[State], Any]:
        async def quick(state: State) -> dict[str, int]:
            return {"steps": 1}

        async def timed(state: State) -> dict[str, int]:
            async with slots:
                await asyncio.sleep(takes[name])
            return {"steps": 1}

        return timed if takes else quick

    graph = StateGraph(State)
    for name in needs:
        graph.add_node(name, node(name))
    for name, above in needs.items():
        if len(above) > 1:
            graph.add_edge(list(above), name)
        else:
            graph.add_edge(above[0] if above else START, name)
    needed = {need for above in needs.values() for need in above}
    for name in needs:
        if name not in needed:
            graph.add_edge(name, END)
    return graph


async def _measure(app: Any, steps: int, tasks: int, workers: int) -> float:
    left = iter(range(tasks))

    async def feed() -> None:
        for number in left:
            config = {"configurable": {"thread_id": str(number)}, "recursion_limit": steps + 10}
            result = await app.ainvoke({"steps": 0}, config)
            assert result["steps"] == steps, result

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(min(tasks, 2 * workers)):
            group.create_task(feed())
    return time.perf_counter() - begin

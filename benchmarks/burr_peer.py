"""A peer: Burr, from its package (extra `bench`). It runs the actions of a task one after another."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from agentdeck.workflow.graph import order
from benchmarks.graphs import Needs


def run(needs: Needs, tasks: int, workers: int, db: Path | None, takes: dict[str, float]) -> float:
    """Seconds for so many tasks, as many at once as there are workers; with `db`, each action is saved by Burr's
    own SQLite persister."""
    return asyncio.run(_run(order(needs), tasks, workers, db, takes))


async def _run(names: list[str], tasks: int, workers: int, db: Path | None, takes: dict[str, float]) -> float:
    if db is None:
        return await _measure(names, tasks, workers, None, takes)
    from burr.integrations.persisters.b_aiosqlite import AsyncSQLitePersister

    async with await AsyncSQLitePersister.from_values(str(db)) as persister:
        await persister.initialize()
        return await _measure(names, tasks, workers, persister, takes)


async def _measure(names: list[str], tasks: int, workers: int, persister: Any, takes: dict[str, float]) -> float:
    from burr.core import ApplicationBuilder
    from burr.core.action import Action

    class Node(Action):  # type: ignore[misc]
        """Counts the actions that ran."""

        reads = writes = ("steps",)

        def __init__(self, seconds: float | None) -> None:
            super().__init__()
            self._seconds = seconds

        async def run(self, state: Any, **_: Any) -> dict[str, int]:
            if self._seconds is not None:
                await asyncio.sleep(self._seconds)
            return {"steps": state["steps"] + 1}

        def update(self, result: dict[str, int], state: Any) -> Any:
            return state.update(**result)

    nodes = {name: Node(takes.get(name)) for name in names}
    left = iter(range(tasks))

    async def feed() -> None:
        for number in left:
            made = ApplicationBuilder().with_actions(**nodes).with_transitions(*pairwise(names))
            made = made.with_state(steps=0).with_entrypoint(names[0]).with_identifiers(app_id=str(number))
            if persister is None:
                app = made.build()
            else:
                app = await made.with_state_persister(persister).abuild()
            _, _, state = await app.arun(halt_after=[names[-1]])
            assert state["steps"] == len(names), state

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(min(tasks, workers)):
            group.create_task(feed())
    return time.perf_counter() - begin

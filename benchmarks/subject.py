"""The subject: agentdeck, through the same door as its users where there is one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from math import exp, log
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.graphs import ORDER, Needs

if TYPE_CHECKING:
    from agentdeck.documents.result import Result

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"


def run(needs: Needs, tasks: int, workers: int, db: Path | None, takes: dict[str, float]) -> float:
    """Seconds for so many tasks, from the call to the result: the store is opened, made and closed in them."""
    return _ran(needs, tasks, workers, db, takes)[0]


def makespan(needs: Needs, tasks: int, workers: int, db: Path | None, takes: dict[str, float]) -> float:
    """Seconds from the run's first event to its last."""
    seconds = _ran(needs, tasks, workers, db, takes)[1].summary["seconds"]
    assert isinstance(seconds, float)
    return seconds


def _ran(
    needs: Needs, tasks: int, workers: int, db: Path | None, takes: dict[str, float]
) -> tuple[float, Result]:
    from agentdeck import Workflow
    from agentdeck.cli.run_process import new_runner

    workflow = Workflow("bench")
    for name, above in needs.items():
        workflow.agent(name=name, needs=list(above))(_agent(takes.get(name)))

    def source() -> Iterator[dict[str, int]]:
        for _ in range(tasks):
            yield {}

    assert workflow.definition.agents  # loaded and checked, as a file is before it runs
    with new_runner() as runner:
        begin = time.perf_counter()
        result = runner.run(workflow.run(tasks=source(), workers=workers, db=db))
        seconds = time.perf_counter() - begin
    steps = result.summary["steps"]
    assert isinstance(steps, dict)
    assert steps["done"] == tasks * len(needs), steps
    return seconds, result


def _agent(seconds: float | None) -> Callable[[], Awaitable[int]]:
    """An agent that sleeps; for 0 seconds, other coroutines run once. None: it returns at once."""

    async def timed() -> int:
        assert seconds is not None
        await asyncio.sleep(seconds)
        return 1

    async def quick() -> int:
        return 1

    return quick if seconds is None else timed


def core(tasks: int, workers: int = 64) -> float:
    """Seconds of the pure core for so many orders: no loop, no agents, no store."""
    from agentdeck.agents.python import Python
    from agentdeck.scheduler import actions as act
    from agentdeck.scheduler import events as ev
    from agentdeck.scheduler.program import Program
    from agentdeck.scheduler.scheduler import Scheduler
    from agentdeck.workflow.model import Agent, Definition

    agents = {name: Agent(name, Python("m:f"), needs=tuple(above)) for name, above in ORDER.items()}
    scheduler = Scheduler(Program(Definition("bench", agents)), run="bench", workers=workers)
    todo: deque[ev.Event | ev.Signal] = deque([ev.RunStarted(0.0, "bench", "bench", "", {}, {})])
    opened, now = 0, 0.0
    begin = time.perf_counter()
    while todo:
        for action in scheduler.handle(todo.popleft()):
            now += 1e-6
            if isinstance(action, act.StartAttempt):
                started = action.started
                todo.append(ev.StepSucceeded(now, started.task, started.step, started.attempt))
            elif isinstance(action, act.PullTask):
                opened += 1
                more = opened <= tasks
                todo.append(ev.TaskOpened(now, str(opened), {}) if more else ev.TasksExhausted(now, tasks))
    assert scheduler.state.status == "done", scheduler.state.status
    return time.perf_counter() - begin


def starts(repeats: int = 9) -> dict[str, float]:
    """Seconds of `--version` and of `check`, as a user types them, at the median."""
    deck = str(Path(sys.executable).with_name("agentdeck"))
    calls = {"version": [deck, "--version"], "check": [deck, "check", str(ROOT / "workflows" / "order.yaml")]}
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            begin = time.perf_counter()
            subprocess.run(call, check=True, capture_output=True)
            spent[name].append(time.perf_counter() - begin)
    return {name: median(values) for name, values in spent.items()}


def dags() -> dict[str, float]:
    """Makespans of recorded workflows on a virtual clock against the best known, or nothing where they are
    not at hand: geometric mean and worst of all, at 2, 4, 8 and 16 workers."""
    bounds = DATA / "dags-bounds.json"
    if not bounds.exists():
        return {}
    from agentdeck.agents.python import Python
    from agentdeck.insight.forecast import forecast
    from agentdeck.workflow.model import Agent, Definition, Timeout

    free = Timeout(attempt=None)
    ratios: list[float] = []
    for name, known in json.loads(bounds.read_text()).items():
        nodes = json.loads((DATA / "dags" / f"{name}.json").read_text())["nodes"]
        agents = {n["id"]: Agent(n["id"], Python("m:f"), needs=tuple(n["deps"]), timeout=free) for n in nodes}
        seconds = {n["id"]: n["duration"] for n in nodes}
        for workers, best in known.items():
            made = forecast(Definition(name, agents), int(workers), seconds=seconds).seconds
            ratios.append(made / best["best_known"])
    return {"mean": exp(sum(map(log, ratios)) / len(ratios)), "worst": max(ratios), "cases": float(len(ratios))}

"""What of a run can go again, and letting it: in the process that holds the run, else in one of its own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from agentdeck.console.pane import Selection
from agentdeck.engine.retry import RetryPlan, all_from, failed
from agentdeck.errors import UsageError
from agentdeck.insight.formatting import plural
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow

NAMED = 4  # agents that are named; of more, how many


class Way(NamedTuple):
    """One way to go again: what would run, and the arguments of `agentdeck retry` that mean it."""

    title: str
    plan: RetryPlan
    arguments: tuple[str, ...]

    @property
    def told(self) -> str:
        """What it touches, in one line."""
        plan = self.plan
        tasks = {task.partition("/")[0] for task, _ in plan.steps}
        first = f"{plural(len(plan.steps), 'step')} of {plural(len(tasks), 'task')}"
        alike = len(set(plan.after.values()) | {len(tasks)}) == 1
        follow = [name if alike else f"{name} {count:,}" for name, count in plan.after.items()]
        more = f", … {len(follow) - NAMED} more agents" if len(follow) > NAMED else ""
        after = f", then {', '.join(follow[:NAMED])}{more}" if follow else ""
        left = f"; {plural(len(plan.left), 'letter')} left out, it may have taken effect" if plan.left else ""
        return first + after + left


def ways(db: Path, run: str, selection: Selection) -> tuple[RunRow, list[Way]]:
    """All that can go again now, the narrowest first. Called in a thread."""
    reader = Reader(db)
    try:
        row = reader.run(run)
        return row, list(_distinct(list(_ways(reader, row, selection))))
    finally:
        reader.close()


def _ways(reader: Reader, row: RunRow, selection: Selection) -> list[Way]:
    task = selection.task
    step = (selection.step or selection.agent.rpartition("/")[2]).partition("[")[0]
    found: list[Way] = []
    if task and step:
        plan = failed(reader, row, agent=step, task=task)
        found.append(Way(f"{step} of task {task}", plan, ("--task", task, "--agent", step)))
    if task:
        plan = failed(reader, row, task=task)
        found.append(Way(f"what failed in task {task}", plan, ("--task", task)))
    if step:
        found.append(Way(f"what failed of {step}", failed(reader, row, agent=step), ("--agent", step)))
    found.append(Way("all that failed", failed(reader, row), ("--failed",)))
    if step and "/" not in selection.agent:
        try:
            if task and "/" not in task:
                plan = all_from(reader, row, step, task=task)
                found.append(Way(f"from {step} on in task {task}", plan, ("--from", step, "--task", task)))
            found.append(Way(f"from {step} on in every task", all_from(reader, row, step), ("--from", step)))
        except UsageError:
            pass  # no agent of the workflow itself: nothing goes on from it
    return found


def _distinct(found: list[Way]) -> list[Way]:
    """Those that do something, each once under its narrowest name."""
    known: list[Way] = []
    for way in found:
        if way.plan.steps and all(way.plan.steps != one.plan.steps for one in known):
            known.append(way)
    return known

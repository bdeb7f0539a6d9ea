"""When a step may start, seen from its needs."""

from __future__ import annotations

import math

from agentdeck.scheduler.state import Step
from agentdeck.workflow.model import Join

GO, WAIT, NEVER, SKIP = "go", "wait", "never", "skip"


def judge(step: Step, *, overdue: bool = False) -> str:
    """What the join says now: GO, WAIT, SKIP (nothing came because all was skipped), or NEVER.

    `overdue`: `within` has run out (or a person released the join), so that `min` is enough.
    Prior art for the quorum with a floor: speculative joins in dataflow engines; the rule here is our own.
    """
    rule = step.rule
    total = len(rule.needs)
    if step.arrived == total:
        return GO
    if step.absent == total:
        return SKIP
    arrived, due = step.arrived, total - step.absent
    pending = due - arrived - step.tolerated - step.broken
    join = rule.join
    if join.kind == "progressive":
        # Each arrival starts a round of its own; only nothing at all ends it.
        return GO if arrived else WAIT if pending else NEVER
    if join.kind == "all" and join.within is None:
        return NEVER if step.broken else WAIT if pending else GO
    goal = goal_of(join, due)
    floor = floor_of(join, goal)
    if arrived >= goal or (join.kind == "all" and arrived + step.tolerated >= due):
        return GO
    if arrived >= floor and (overdue or not pending):
        return GO
    if arrived + pending < floor or overdue:
        return NEVER
    return WAIT


def goal_of(join: Join, due: int) -> int:
    """How many arrivals let it go at once; `due` are the needs that were not skipped."""
    if join.kind in ("any", "progressive"):
        return 1
    if join.quorum is None or isinstance(join.quorum, int):
        return due if join.quorum is None else join.quorum
    return max(1, math.ceil(join.quorum * due - 1e-9))


def floor_of(join: Join, goal: int) -> int:
    """The fewest arrivals that can do: `min`, else 1 with a clock, else the goal itself."""
    if join.min is not None:
        return min(join.min, goal)
    return 1 if join.within is not None else goal

"""Detects a run in which nothing can continue until an operator acts: which steps wait, for what, and the remedy.

A provider that refuses its key, an exhausted budget with the rung `ask`, and an approval without a time limit
are resolved from outside the run. With an operator present the run waits and reports it. Without one it would
wait for ever: it stops instead, as with `drain`, and `resume` continues it. Steps that do not depend on what is
missing have all ended by then, as a run counts as stalled only when nothing in it moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import anyio

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import command, required
from agentdeck.scheduler.provider_queues import BUDGET
from agentdeck.scheduler.questions import answer_line, approval_of, by_decision, current
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.state import OPEN, Step
from agentdeck.workflow.model import Approve
from agentdeck.workflow.units import show_amount

if TYPE_CHECKING:
    from agentdeck.engine.engine import Engine

#: Whether the approval of a step of a task may still be answered by this process.
Answering: TypeAlias = Callable[[str, str], bool]

#: Seconds between two checks.
LOOK = 0.1
#: The number of steps that a cause names.
NAMED = 3


class StallCause(NamedTuple):
    """What steps wait for. `kind` is provider, budget, resource or approval; `why` is a sentence; `steps` are the
    first few of `number` steps as (task, step). `limit` is that of a shared resource which would do, such as
    `gpu=4`. `asks` is the question of an approval, or, if `agent_asks`, of an agent at work; `yes`: --yes can
    answer it."""

    kind: str
    why: str
    steps: tuple[tuple[str, str], ...]
    number: int
    asks: Approve | None = None
    agent_asks: bool = False
    yes: bool = True
    limit: str = ""

    @property
    def waiting(self) -> str:
        """The steps as text: `3 steps wait (write of task 1, write of task 2, …)`."""
        named = [f"{step} of task {task}" for task, step in self.steps]
        if self.number > len(named):
            named.append("…")
        return f"{self.number:,} step{' waits' if self.number == 1 else 's wait'} ({', '.join(named)})"

    def remedy(self, run: str, *, stopped: bool) -> str:
        """What the operator can do, while the run waits or after it has `stopped`."""
        resume = f"agentdeck resume {run}"
        if self.kind == "provider":
            return f"once this is fixed: {resume}" if stopped else f"once this is fixed: {_again(run, resume)}"
        if self.kind == "resource":
            grant = f"agentdeck limits {run} {self.limit}"
            return f"{resume} --wait, then {grant}" if stopped else grant
        if self.kind == "budget":
            grant = f"agentdeck budget {run} shows and raises it"
            return f"{resume} --wait, then {grant}" if stopped else grant
        task, step = self.steps[0]
        answer = (answer_line if self.agent_asks else command)(run, task, step, self.asks)
        if not stopped:
            return answer
        return f"{resume} --wait, then {answer}" + (f"; or {resume} --yes" if self.yes else "")


def _again(run: str, resume: str) -> str:
    return f"agentdeck pause {run}, then {resume}; where the key changed: agentdeck drain {run}, then {resume}"


def causes(scheduler: Scheduler, answering: Answering | None = None) -> tuple[StallCause, ...]:
    """What the steps of a run in which nothing moves wait for; empty where an operator has paused the run.
    Empty also while this process may still answer an approval: `answering` says so."""
    found = []
    if scheduler.state.paused:
        if not scheduler.state.pause_reason.startswith("budget"):
            return ()
        found.append(_cause("budget", scheduler.state.pause_reason.partition("; ")[0], scheduler.queued_steps()))
    else:
        for name, why, steps in scheduler.stopped_queues():
            found.append(_cause("budget" if name == BUDGET else "provider", why, steps))
        for name, steps in scheduler.never_fitting().items():
            limit = scheduler.state.resources.by_name[name].limit
            enough = max([dict(step.acting.uses)[name] for step in steps])
            why = f"the limit of {name} is {show_amount(limit)}, and {show_amount(enough)} is needed"
            found.append(_cause("resource", why, steps)._replace(limit=f"{name}={show_amount(enough)}"))
    by_agent: dict[str, list[Step]] = {}
    for step in scheduler.state.unended():
        if step.state == OPEN and approval_of(step) is not None:
            if answering is not None and answering(step.task.id, step.key):
                return ()
            by_agent.setdefault(step.rule.name, []).append(step)
    verbs = [agent.does for one in scheduler.state.program.definitions() for agent in one.agents.values()]
    yes = not any(isinstance(does, Approve) and required(does) for does in verbs)
    for agent, steps in by_agent.items():
        asks = approval_of(steps[0])
        questions = [question for step in steps if (question := current(step)) is not None]
        what = f"{agent} asks a question" if questions else f"{agent} asks for approval"
        can = yes and all(by_decision(question, True) is not None for question in questions)
        found.append(_cause("approval", what, steps)._replace(asks=asks, agent_asks=bool(questions), yes=can))
    return tuple(found)


def _cause(kind: str, why: str, steps: list[Step]) -> StallCause:
    return StallCause(kind, why, tuple((step.task.id, step.key) for step in steps[:NAMED]), len(steps))


async def watch(
    engine: Engine,
    wait: bool,
    report: Callable[[str, tuple[StallCause, ...]], None] | None,
    answering: Answering | None = None,
) -> tuple[StallCause, ...]:
    """Runs beside the engine: report what the run waits for, once and when that changes. Without `wait`, stop
    the run instead, and return what it waited for."""
    scheduler, looked = engine.scheduler, -1
    reported: tuple[StallCause, ...] = ()
    while True:
        await anyio.sleep(LOOK)
        if (scheduler.state.seq == looked and answering is None) or not engine.quiet:
            continue
        looked = scheduler.state.seq
        found = causes(scheduler, answering)
        if not found:
            continue
        if not wait:
            at = engine.clock.now()
            engine.feed(ev.Batch(at, (ev.Noted(at, stopped(scheduler.state.run, found)), ev.RunDrained(at))))
            return found
        if found != reported and report is not None:
            report(scheduler.state.run, found)
        reported = found


def stopped(run: str, found: Iterable[StallCause], *, resumable: bool = True) -> str:
    """Why a run has stopped, as text for the operator and for its log."""
    lines = [
        f"{one.why}: {one.waiting}" + (f"; {one.remedy(run, stopped=True)}" if resumable else "") for one in found
    ]
    return f"stopped, as nothing can continue without an operator: {'; '.join(lines)}"

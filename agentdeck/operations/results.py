"""Documents on runs and tasks, from what is recorded of them."""

from __future__ import annotations

from functools import partial

from agentdeck.documents.document import plain
from agentdeck.documents.result import Details, Result, StepFault, StepResult, TaskResult
from agentdeck.documents.run import AgentSummary, RunStatus, TaskCounts
from agentdeck.documents.step import LogLine
from agentdeck.insight.summary import summary
from agentdeck.store.reader import LogLine as ReadLine
from agentdeck.store.run_list import RunRow
from agentdeck.trace_ids import attempt_ids
from agentdeck.views.run_view import RunView
from agentdeck.views.task_outcome import StepOutcome, TaskOutcome
from agentdeck.workflow.model import Definition


def run_status(row: RunRow) -> RunStatus:
    """A run as the store lists it."""
    return RunStatus.of(
        row,
        pause_reason=row.pause_reason if row.state == "paused" else "",
        tags=list(row.tags),
        tasks=TaskCounts.of(row.tasks),
    )


def live_status(view: RunView, pause_reason: str, tags: tuple[str, ...]) -> RunStatus:
    """A run that this process executes, as it is now."""
    tasks = view.tasks
    total = tasks.total if tasks.total is not None else max(tasks.opened, tasks.given or 0)
    return RunStatus.model_construct(
        run=view.run,
        workflow=view.workflow,
        state=view.state,
        pause_reason=pause_reason if view.state == "paused" else "",
        started=view.started or view.now,
        seconds=view.seconds,
        simulated=view.simulated,
        tags=list(tags),
        tasks=TaskCounts.of(tasks, total=total),
    )


def log_line(run: str, line: ReadLine) -> LogLine:
    """A line that an agent logged, with the ids of its attempt in traces."""
    return LogLine.of(line, run=run, **attempt_ids(run, line.task, line.step, line.attempt))


def task_result(outcome: TaskOutcome) -> TaskResult:
    """The result of a task, with its steps."""
    return TaskResult.of(outcome, error=_error(outcome), steps=_steps(outcome))


def _error(outcome: TaskOutcome) -> StepFault | None:
    cause = outcome.cause
    if cause is None:
        return None
    message = cause.fault.message.removeprefix(f"{cause.step}: ")
    return StepFault.of(cause.fault, step=cause.step, agent=cause.agent, message=message)


def _steps(outcome: TaskOutcome) -> dict[str, StepResult]:
    return {name: _step(name, step) for name, step in outcome.steps.items()}


def _step(name: str, step: StepOutcome) -> StepResult:
    error = None if step.fault is None else StepFault.of(step.fault, step=name, agent=step.agent)
    return StepResult.of(step, error=error)


def run_result(view: RunView, definition: Definition, state: str, only: TaskOutcome | None) -> Result:
    """The result of a run. `only` is its task, where it has one."""
    return Result.model_construct(
        run=view.run,
        workflow=definition.name,
        state=state,
        output=view.output if has_one_task(view) else None,
        error=_error(only) if only is not None else _first_error(view),
    ).with_details(partial(_details, view, definition, only))


def _details(view: RunView, definition: Definition, only: TaskOutcome | None) -> Details:
    document = summary(view, definition)
    found = {} if only is None else _steps(only)
    steps = {name: found.get(name) or _of_agent(document.agents[name]) for name in definition.agents}
    return Details.model_construct(steps=steps, summary=plain(document))


def has_one_task(view: RunView) -> bool:
    return view.tasks.opened == 1 and view.tasks.total in (None, 1)


def _of_agent(agent: AgentSummary) -> StepResult:
    """An agent over all tasks."""
    state = "failed" if agent.failed else "done" if agent.done else "skipped"
    return StepResult.model_construct(state=state, seconds=agent.p50, attempts=agent.attempts)


def _first_error(view: RunView) -> StepFault | None:
    """Why the first task failed of those that the view remembers."""
    for task in view.failed.values():
        if task.state == "failed" and task.parent is None and task.fault is not None:
            step, _, message = task.fault.message.partition(": ")
            return StepFault.of(task.fault, step=step, agent=step.partition("[")[0], message=message)
    return None

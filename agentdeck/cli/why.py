"""`why`: one sentence on one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agentdeck.cli import complete
from agentdeck.cli.options import db_option, json_option, run_argument

if TYPE_CHECKING:
    from agentdeck.store.reader import Reader
    from agentdeck.store.run_list import RunRow
    from agentdeck.views.run_view import RunView
    from agentdeck.workflow.model import Definition


@click.command()
@run_argument
@click.argument("step", metavar="STEP", shell_complete=complete.agents)
@click.option("--task", metavar="TASK", help="Of this task; else of the oldest one where it has not ended.")
@db_option
@json_option("One JSON object: run, task, step, state, reason, why.")
def why(run: str, step: str, task: str | None, db: str | None, as_json: bool) -> None:
    """Say in one sentence why a step waits, was skipped, or failed. STEP is an agent, an item (notes[2]), or
    TASK/STEP.

    \b
    Examples:
      agentdeck why last payment
      agentdeck why last 17/payment
      agentdeck why last notes[2] --json
    """
    import time

    from agentdeck.cli.options import folded, store
    from agentdeck.cli.text_tables import dump, out
    from agentdeck.insight.why import explain
    from agentdeck.terminal_text import clean

    if task is None and "/" in step:
        task, step = step.rsplit("/", 1)
    with store(db) as reader:
        row, definition, view = folded(reader, run)
        task = task or chosen(view, step)
        if task not in view.open and task not in view.failed:
            view = alone(reader, row, definition, task)
    living = row.state in ("running", "paused")
    found = explain(view, definition, task, step, time.time() if living else view.now)
    text = found.text
    if row.state == "interrupted" and found.state in ("waiting", "ready", "running"):
        text = f"nobody runs {row.run} (interrupted); when that was: {text}"
    if as_json:
        told = {"run": row.run, "task": task, "step": step, **found._asdict()}
        dump({**{name: value for name, value in told.items() if name != "text"}, "why": text})
    else:
        out(clean(f"{step} of task {task}: {text}" if row.tasks.total > 1 else f"{step}: {text}"))


def chosen(view: RunView, step: str) -> str:
    """The task that is meant where none is named: the oldest open one where the step has not ended, else one
    where it failed, else the last one that ended."""
    from agentdeck.scheduler.state import ENDED

    def open_in(task: str) -> bool:
        found = view.open[task].steps.get(step)
        return not view.open[task].graph.prefix and (found is None or found.state not in ENDED)

    first = next((task for task in view.open if open_in(task)), None)
    if first is not None:
        return first
    for name, task in view.failed.items():
        if not task.graph.prefix and (at := task.steps.get(step)) is not None and at.state == "failed":
            return name
    return view.recent[-1].task if view.recent else next(iter(view.open), "1")


def alone(reader: Reader, row: RunRow, definition: Definition, task: str) -> RunView:
    """What is known of one task that ended long ago: its own events alone, as if it had not ended."""
    from agentdeck.errors import UsageError
    from agentdeck.scheduler import events as ev
    from agentdeck.views.run_view import RunView

    view, state = RunView(definition), ""
    for seq, event in reader.events(row.run):
        of = getattr(event, "task", "")
        if isinstance(event, ev.TaskEnded) and of == task:
            state = event.state
        elif not of or of == task or of.startswith(task + "/"):
            view.apply(seq, event)
    if not state:
        raise UsageError(f"{row.run} has no task {task}; see `agentdeck events {row.run}`")
    view.open[task].state = state
    return view

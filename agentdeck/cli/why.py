"""`why`: one sentence on one step."""

from __future__ import annotations

import click

from agentdeck.cli import complete
from agentdeck.cli.options import db_option, json_option, run_argument


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

    from agentdeck.cli.text_tables import dump, out
    from agentdeck.insight.why import explain
    from agentdeck.operations.explain import step_task, task_view
    from agentdeck.operations.recorded_run import load_run, open_store
    from agentdeck.terminal_text import clean

    if task is None and "/" in step:
        task, step = step.rsplit("/", 1)
    with open_store(db) as reader:
        row, definition, view = load_run(reader, run)
        task = task or step_task(view, step)
        if task not in view.open and task not in view.failed:
            view = task_view(reader, row, definition, task)
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

"""The verbs about one step: `step`, `why`."""

from __future__ import annotations

import click

from agentdeck.cli import complete
from agentdeck.cli.options import db_option, json_option, run_argument
from agentdeck.cli.text_tables import out, print_document
from agentdeck.errors import UsageError
from agentdeck.operations.recorded_run import LIVE, load_run, open_store, step_task, task_view
from agentdeck.terminal_text import clean
from agentdeck.views.inner_tree import NEWEST


@click.command()
@run_argument
@click.argument("task", metavar="TASK")
@click.argument("step", metavar="STEP", required=False, shell_complete=complete.agents)
@click.option("--inner", type=click.IntRange(1, 20_000), default=NEWEST, show_default=True, metavar="N",
              help="How many inner steps of each attempt to show.")  # fmt: skip
@db_option
@json_option("Print one JSON object.")
def step(run: str, task: str, step: str | None, inner: int, db: str | None, as_json: bool) -> None:
    """Show one step: what it read, what it was asked to do, its attempts and the steps inside them, its output.

    RUN is an id, the beginning of one, or `last`; TASK is a task's number (in a sub-workflow `1/review`);
    STEP is an agent's name, or an item of it (`notes[0]`).

    \b
    Examples:
      agentdeck step last 1 payment
      agentdeck step last 1 notes[0] --json
    """
    from agentdeck.insight.step import recorded_story
    from agentdeck.operations.step_page import page, step_document

    if step is None:
        raise UsageError(f"TASK or STEP is missing: agentdeck step {run} TASK STEP; the first task is 1")
    with open_store(db) as reader:
        story = recorded_story(reader, run, task, step, inner=inner)
    if as_json:
        print_document(step_document(story))
        return
    for line in page(story):
        out(line)


@click.command()
@run_argument
@click.argument("step", metavar="STEP", shell_complete=complete.agents)
@click.option(
    "--task", metavar="TASK", help="In this task. Default: the oldest task in which the step has not ended."
)
@db_option
@json_option("Print one JSON object: run, task, step, state, reason, why.")
def why(run: str, step: str, task: str | None, db: str | None, as_json: bool) -> None:
    """Explain in one sentence why a step waits, was skipped or failed. STEP is an agent, an item (notes[2]), or
    TASK/STEP.

    \b
    Examples:
      agentdeck why last payment
      agentdeck why last 17/payment
      agentdeck why last notes[2] --json
    """
    import time

    from agentdeck.engine.resume import nested_of
    from agentdeck.insight.why import explain

    if task is None and "/" in step:
        task, step = step.rsplit("/", 1)
    with open_store(db) as reader:
        row, definition, view = load_run(reader, run)
        task = task or step_task(view, step)
        if task not in view.open and task not in view.failed:
            view = task_view(reader, row, definition, task)
        nested = nested_of(reader, row)
    now = time.time() if row.state in LIVE else view.now
    found = explain(view, definition, task, step, now, nested)
    text = found.text
    if row.state == "interrupted" and found.state in ("waiting", "ready", "running"):
        text = f"{row.run} is interrupted: no process executes it; before that: {text}"
    if as_json:
        from agentdeck.documents.step import Why

        print_document(Why.of(found, run=row.run, task=task, step=step, why=text))
    else:
        out(clean(f"{step} of task {task}: {text}" if row.tasks.total > 1 else f"{step}: {text}"))

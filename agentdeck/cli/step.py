"""`step`: all about one step of a run."""

from __future__ import annotations

import click

from agentdeck.cli import complete
from agentdeck.cli.options import db_option, json_option, run_argument


@click.command()
@run_argument
@click.argument("task", metavar="TASK")
@click.argument("step", metavar="STEP", shell_complete=complete.agents)
@db_option
@json_option("One JSON object.")
def step(run: str, task: str, step: str, db: str | None, as_json: bool) -> None:
    """Tell the story of one step: what it read, what it was told to do, its attempts, its output.

    RUN is an id, the beginning of one, or `last`; TASK is a task's number (below a sub-workflow `1/review`);
    STEP is an agent's name, or an item of it (`notes[0]`).

    \b
    Examples:
      agentdeck step last 1 payment
      agentdeck step last 1 notes[0] --json
    """
    from agentdeck.cli.text_tables import dump, out
    from agentdeck.insight.step import recorded_story
    from agentdeck.operations.recorded_run import open_store
    from agentdeck.operations.step_page import page, render

    with open_store(db) as reader:
        told = recorded_story(reader, run, task, step)
    if as_json:
        dump(render(told))
        return
    for line in page(told):
        out(line)

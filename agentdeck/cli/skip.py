"""`skip`: asked of the process that holds a run."""

from __future__ import annotations

import click

from agentdeck.cli.options import db_option


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("step", metavar="STEP")
@click.option("--task", metavar="TASK", default="1", show_default=True, help="In this task.")
@db_option
def skip(run: str, step: str, task: str, db: str | None) -> int:
    """Go on without a step that has not ended: what needs it does not wait for it any more. What only needs
    skipped steps is skipped too."""
    from agentdeck.cli.ask import ask

    return ask(db, run, "skip", {"task": task, "step": step})

"""`release`: asked of the process that holds a run."""

from __future__ import annotations

import click

from agentdeck.cli.options import db_option


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("step", metavar="STEP")
@click.option("--task", metavar="TASK", help="In this task; needed where the step waits in several.")
@db_option
def release(run: str, step: str, task: str | None, db: str | None) -> int:
    """Let a join go with what has arrived."""
    from agentdeck.cli.ask import ask

    return ask(db, run, "release", {"step": step, **({"task": task} if task else {})})

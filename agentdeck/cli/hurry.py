"""`hurry`: asked of the process that holds a run."""

from __future__ import annotations

import click

from agentdeck.cli.options import db_option


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("task", metavar="TASK")
@db_option
def hurry(run: str, task: str, db: str | None) -> int:
    """Let a task go before all others."""
    from agentdeck.cli.ask import ask

    return ask(db, run, "hurry", {"task": task})

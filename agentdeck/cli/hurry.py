"""`hurry`: asked of the process that holds a run."""

from __future__ import annotations

import click

from agentdeck.cli.options import by_option, db_option, run_argument


@click.command()
@run_argument
@click.argument("task", metavar="TASK")
@by_option
@db_option
def hurry(run: str, task: str, by: str | None, db: str | None) -> int:
    """Let a task go before all others.

    \b
    Example:
      agentdeck hurry last 17
    """
    from agentdeck.cli.send_command import ask

    return ask(db, run, "hurry", {"task": task}, by=by)

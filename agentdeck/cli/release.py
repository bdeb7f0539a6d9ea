"""`release`: asked of the process that holds a run."""

from __future__ import annotations

import click

from agentdeck.cli import complete
from agentdeck.cli.options import by_option, db_option, run_argument


@click.command()
@run_argument
@click.argument("step", metavar="STEP", shell_complete=complete.agents)
@click.option("--task", metavar="TASK", help="In this task; needed where the step waits in several.")
@by_option
@db_option
def release(run: str, step: str, task: str | None, by: str | None, db: str | None) -> int:
    """Let a join go with what has arrived, instead of waiting for the rest.

    \b
    Example:
      agentdeck release last synthesis --task 17
    """
    from agentdeck.cli.send_command import ask

    return ask(db, run, "release", {"step": step, **({"task": task} if task else {})}, by=by)

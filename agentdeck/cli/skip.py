"""`skip`: asked of the process that holds a run."""

from __future__ import annotations

import click

from agentdeck.cli import complete
from agentdeck.cli.options import by_option, db_option, run_argument


@click.command()
@run_argument
@click.argument("step", metavar="STEP", shell_complete=complete.agents)
@click.option("--task", metavar="TASK", default="1", show_default=True, help="In this task.")
@by_option
@db_option
def skip(run: str, step: str, task: str, by: str | None, db: str | None) -> int:
    """Go on without a step that has not ended: what needs it does not wait for it any more. What only needs
    skipped steps is skipped too.

    \b
    Example:
      agentdeck skip last courier --task 17
    """
    from agentdeck.cli.send_command import ask

    return ask(db, run, "skip", {"task": task, "step": step}, by=by)

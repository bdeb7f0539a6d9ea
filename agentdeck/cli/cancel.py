"""`cancel`: asked of the process that holds a run."""

from __future__ import annotations

import click

from agentdeck.cli import complete
from agentdeck.cli.options import by_option, db_option, run_argument


@click.command()
@run_argument
@click.option("--task", metavar="TASK", help="This task only.")
@click.option(
    "--step", metavar="STEP", shell_complete=complete.agents, help="This step only, in one task or in all."
)
@click.option("--now", is_flag=True, help="Kill running programs without the moment they have to end themselves.")
@by_option
@db_option
def cancel(run: str, task: str | None, step: str | None, now: bool, by: str | None, db: str | None) -> int:
    """Cancel a run, a task of it, or a step. What runs is stopped; programs get a moment to end themselves.

    \b
    Examples:
      agentdeck cancel last
      agentdeck cancel last --task 17
      agentdeck cancel last --task 17 --step payment --now
    """
    from agentdeck.cli.send_command import ask

    given = {"task": task, "step": step, "now": now}
    return ask(db, run, "cancel", {name: value for name, value in given.items() if value}, by=by)

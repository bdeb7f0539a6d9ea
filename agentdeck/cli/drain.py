"""`drain`: asked of the process that holds a run."""

from __future__ import annotations

import click

from agentdeck.cli.options import by_option, db_option, run_argument


@click.command()
@run_argument
@by_option
@db_option
def drain(run: str, by: str | None, db: str | None) -> int:
    """Let running steps finish, then stop the process that holds the run; `resume` goes on.

    \b
    Example:
      agentdeck drain last
    """
    from agentdeck.cli.send_command import ask

    return ask(db, run, "drain", {}, by=by)

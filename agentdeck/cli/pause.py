"""`pause`: asked of the process that holds a run."""

from __future__ import annotations

import click

from agentdeck.cli.options import by_option, db_option, run_argument


@click.command()
@run_argument
@by_option
@db_option
def pause(run: str, by: str | None, db: str | None) -> int:
    """Start nothing new in a run; what runs goes on. `resume` lets it go on.

    \b
    Example:
      agentdeck pause last
    """
    from agentdeck.cli.send_command import ask

    return ask(db, run, "pause", {}, by=by)

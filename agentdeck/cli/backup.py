"""`backup`: the store in one file."""

from __future__ import annotations

from pathlib import Path

import click

from agentdeck.cli.options import db_option


@click.command()
@click.argument("file", metavar="FILE", type=click.Path())
@db_option
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def backup(file: str, db: str | None, force: bool) -> None:
    """Copy the store as it is now into FILE, while runs go on; the copy is checked. To use it: --db FILE.

    \b
    Example:
      agentdeck backup monday.db
    """
    from agentdeck.cli.error_output import say
    from agentdeck.insight.formatting import size
    from agentdeck.operations.settings import database
    from agentdeck.store.backup import backup as copy

    say(f"{file}: {size(copy(database(db), Path(file), force=force))}, checked")

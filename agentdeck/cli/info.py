"""`info`: versions, and where things are."""

from __future__ import annotations

from pathlib import Path

import click

from agentdeck.cli.options import db_option, json_option


@click.command()
@db_option
@json_option("One JSON object.")
def info(db: str | None, as_json: bool) -> None:
    """Show versions and where things are.

    \b
    Example:
      agentdeck info
    """
    import platform
    import sqlite3

    from agentdeck import __version__
    from agentdeck.cli.text_tables import dump, out
    from agentdeck.operations.settings import database, user_file
    from agentdeck.workflow.deck import find_deck

    path, deck = database(db), find_deck(Path.cwd())
    told = {
        "agentdeck": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "sqlite": sqlite3.sqlite_version,
        "db": str(path),
        "db_bytes": path.stat().st_size if path.exists() else None,
        "config": str(user_file()),
        "deck": None if deck is None else str(deck),
    }
    if as_json:
        dump(told)
        return
    for name, value in told.items():
        absent = "none: prompts are simulated" if name == "deck" else "none yet"
        out(f"{name.replace('_', ' '):<10} {absent if value is None else value}")

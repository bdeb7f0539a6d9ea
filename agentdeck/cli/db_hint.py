"""Commands that a message names repeat the `--db` with which this process was called: without it they would look
into another store."""

from __future__ import annotations

import click

_db = ""


def remember(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Callback of the option."""
    global _db
    _db = value or ""
    return value


def with_db(text: str) -> str:
    """The text, with --db in each command where it was given to this process."""
    if not _db:
        return text
    from agentdeck import command_hint

    return command_hint.with_db(text, _db)

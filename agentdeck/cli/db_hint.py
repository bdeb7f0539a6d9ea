"""Commands that a message names repeat the `--db` with which this process was called: without it they would look
into another store."""

from __future__ import annotations

import re
import shlex

import click

#: Verbs that take --db and that messages name; then the run or the letter, where one follows.
_VERBS = (
    "approve|backup|budget|cancel|diff|drain|events|fork|hurry|limits|logs|pause|prune|release|results|resume|retry"
    "|runs|show|skip|step|watch|why|letters(?: (?:drop|export|list|retry|show))?"
)
_COMMAND = re.compile(rf"\bagentdeck (?:{_VERBS})\b(?: (?:last|\d+|[0-9a-z]{{10}})\b)?+(?! --(?:db|help)\b)")

_db = ""


def remember(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Callback of the option."""
    global _db
    _db = value or ""
    return value


def with_db(text: str) -> str:
    """The text, with --db in each command where it was given to this process."""
    if not _db or "agentdeck " not in text:
        return text
    where = f" --db {shlex.quote(_db)}"
    return _COMMAND.sub(lambda found: found.group() + where, text)

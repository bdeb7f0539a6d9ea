"""Opening the console from the command line."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from agentdeck.cli.errors import USAGE, hint, say


def terminal() -> bool:
    """Whether there is one to draw on, and to read keys from."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def show(db: str | None = None, file: str | None = None) -> int:
    """The console, until it is closed. Without a terminal: a sentence, and exit code 2."""
    if file is not None and not Path(file).is_file():
        say(f"{file}: " + ("this is a folder; name a file in it" if Path(file).is_dir() else "no such file"))
        return USAGE
    if not terminal():
        say("the console needs a terminal, and there is none here")
        hint(f"agentdeck run {file or 'FILE'}   runs a workflow without one; agentdeck --help shows all verbs")
        return USAGE
    from agentdeck.cli.settings import database

    app = import_module("agentdeck.console.app").DeckApp
    app(database(db), Path(file) if file else None).run()
    return 0

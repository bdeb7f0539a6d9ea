"""Opening the console from the command line."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from agentdeck.cli.error_output import USAGE, hint, say


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
    from agentdeck.operations.settings import database

    app = import_module("agentdeck.console.app").DeckApp(database(db), Path(file) if file else None)
    app.run()
    goodbye(app.engines.values())
    return 0


def goodbye(engines: Iterable[Any], db: Path | None = None) -> None:
    """Once the screen is gone: how to find again what was left executing. `db` where it is not the usual one."""
    where = f" --db {shlex.quote(str(db))}" if db else ""
    for run in [engine.run for engine in engines if engine.ended is None]:
        say(f"{run} executes without the console: agentdeck watch {run}{where}")
    if db:
        say(f"to open its store again: AGENTDECK_DB={shlex.quote(str(db))} agentdeck")

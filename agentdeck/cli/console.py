"""Opens the console from the command line."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from agentdeck.cli.error_output import USAGE, hint, say

if TYPE_CHECKING:
    from agentdeck.operations.engine_process import EngineProcess


def has_terminal() -> bool:
    """Whether stdin and stdout are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def show(db: str | None = None, file: str | None = None) -> int:
    """Show the console until it is closed; returns the exit code. Without a terminal: an error message, and 2."""
    if file is not None and not Path(file).is_file():
        say(f"{file}: " + ("this is a folder; name a file in it" if Path(file).is_dir() else "no such file"))
        return USAGE
    if not has_terminal():
        say("the console needs a terminal, and stdin or stdout is not one")
        hint(
            f"agentdeck run {file or 'FILE'}   runs a workflow without a terminal; agentdeck --help lists "
            "all commands"
        )
        return USAGE
    from agentdeck.operations.settings import database

    open_console(database(db), Path(file) if file else None)
    return 0


def open_console(
    db: Path, file: Path | None = None, *, engine: EngineProcess | None = None, reminder: str = ""
) -> None:
    """Show the console until it is closed: the deck screen with the workflow `file` selected, or the run of
    `engine`. Raises the error that closed it, where it was not the operator. This is the only import of the
    console in the command line."""
    from agentdeck.console.app import DeckApp

    app = DeckApp(db, file, engine=engine, reminder=reminder)
    app.run()
    report_left_running(app.engines.values(), db if engine is not None else None)
    if app.failure is not None:
        raise app.failure


def report_left_running(engines: Iterable[EngineProcess], db: Path | None = None) -> None:
    """Print how to watch each run that still executes, after the console has closed. `db` is the store if it is
    not the default one."""
    where = f" --db {shlex.quote(str(db))}" if db else ""
    for run in [engine.run for engine in engines if engine.ended is None]:
        say(f"{run} continues in the background; follow it with: agentdeck watch {run}{where}")
    if db:
        say(f"to open this store again: AGENTDECK_DB={shlex.quote(str(db))} agentdeck")

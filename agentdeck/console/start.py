"""Opens the console. The command line imports this module and no other one of the console."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from agentdeck.console.app import DeckApp
from agentdeck.operations.engine_process import EngineProcess


def open_console(
    db: Path,
    file: Path | None = None,
    *,
    engine: EngineProcess | None = None,
    reminder: str = "",
) -> Iterable[EngineProcess]:
    """Show the console until the operator closes it: the deck screen, with the workflow `file` selected, or the
    run of `engine`. Returns the engine processes that were started from it."""
    app = DeckApp(db, file, run=engine.run if engine is not None else None, engine=engine, reminder=reminder)
    app.run()
    return app.engines.values()

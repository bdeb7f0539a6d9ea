"""Closing the console while runs that were started from it still execute."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from textual.app import App

from agentdeck.console.screens.dialogs import Choice, Confirm
from agentdeck.engine.author import current_author
from agentdeck.errors import AgentdeckError
from agentdeck.operations.engine_process import EngineProcess


def leave(app: App[None], db: Path, engines: Iterable[EngineProcess]) -> None:
    """Close the console. Where engines still execute, ask first; a second ctrl+q in that question closes."""
    alive = [engine.run for engine in engines if engine.ended is None]
    if not alive or isinstance(app.screen, Confirm):
        app.exit()
        return

    def answered(choice: str | None) -> None:
        if choice in ("drain", "cancel"):
            app.run_worker(lambda: _ask_all(app, db, alive, choice), thread=True, name=f"{choice} and quit")
        elif choice:
            app.exit()

    many = f"{len(alive)} runs execute" if len(alive) > 1 else f"{alive[0]} executes"
    choices = [
        Choice("keep", "k", "Keep running in the background", "look at them again any time"),
        Choice("drain", "d", "Drain", "running steps finish; resume later"),
        Choice("cancel", "x", "Cancel", "stop everything for good", danger=True),
        Choice("", "s", "Stay here"),
    ]
    app.push_screen(Confirm("Close the console?", [f"{many} in the background."], choices), answered)


def _ask_all(app: App[None], db: Path, runs: list[str], verb: str) -> None:
    """In a thread: send a command to every run, then close."""
    from agentdeck.operations.commands import RunCommand, send

    author = current_author("console")
    for run in runs:
        try:
            send(db, run, RunCommand(verb, {}), author)
        except AgentdeckError:
            continue  # a run that does not answer is not stopped by staying here either
    app.call_from_thread(app.exit)

"""What screens use of the app that shows them. The app imports its screens, so they know it by this interface."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from agentdeck.operations.engine_process import EngineProcess


class ConsoleApp(Protocol):
    """`db` is the store. `engines` are the processes that this console has started, by run. `reminder` is a line
    of keys that is shown until they were used."""

    db: Path
    engines: dict[str, EngineProcess]
    reminder: str

    def open_run(self, run: str) -> None:
        """Show the run screen of this run."""

    def start(self, engine: Callable[[], EngineProcess], *, look: bool = True) -> bool:
        """Start an engine process and `look` at its run. False, after a notification, where it does not start."""

    def used(self, key: str) -> None:
        """Note that a key of the reminder was used."""

    def theme_names(self) -> list[str]:
        """The themes that can be chosen."""

    def use_theme(self, name: str) -> None:
        """Choose a theme, for later sessions too."""

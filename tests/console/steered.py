"""The run screen of a run that an engine in a process of its own executes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from textual.pilot import Pilot

from agentdeck.console.app import DeckApp
from agentdeck.console.pane import Selection
from agentdeck.console.screens.dialogs import Confirm
from agentdeck.console.screens.run import RunScreen
from agentdeck.operations import engine_process
from agentdeck.operations.engine_process import LaunchRequest
from tests.console.conftest import until


class Steered:
    """The run screen on a run that another process executes."""

    def __init__(self, app: DeckApp, pilot: Pilot[None], db: Path) -> None:
        self.app, self.pilot, self.db = app, pilot, db
        assert isinstance(app.screen, RunScreen)
        self.screen = app.screen

    def state(self, step: str, task: str = "1") -> str:
        view = self.screen.view
        of = view.open.get(task) or view.failed.get(task)
        found = of.steps.get(step) if of else None
        return found.state if found else "waiting"

    def select(self, agent: str = "", task: str = "", step: str = "") -> None:
        self.screen.panes.select(Selection(agent, task, step))

    async def until(self, holds: Callable[[], bool], seconds: float = 20.0) -> None:
        await until(self.pilot, holds, seconds)

    async def question(self) -> str:
        """Wait for the question before something is done, and what it says it touches."""
        await self.until(lambda: isinstance(self.app.screen, Confirm))
        asked = self.app.screen
        assert isinstance(asked, Confirm)
        await self.pilot.pause()
        return "\n".join((asked.title_text, *asked.touches, *(f"{c.title}: {c.help}" for c in asked.choices)))

    async def back(self) -> None:
        await self.until(lambda: self.app.screen is self.screen)


@asynccontextmanager
async def steered(
    folder: Path, text: str, tasks: int = 1, deck: str = "", size: tuple[int, int] = (140, 42)
) -> AsyncIterator[Steered]:
    """Launched from the console; killed in the end."""
    file = folder / "w.yaml"
    file.write_text(text, encoding="utf-8")
    if deck:
        (folder / "deck.yaml").write_text(deck, encoding="utf-8")
    rows = folder / "t.jsonl"
    rows.write_text("".join(json.dumps({"id": f"A-{n}"}) + "\n" for n in range(1, tasks + 1)), encoding="utf-8")
    db = folder / "deck.db"
    app = DeckApp(db)
    async with app.run_test(size=size) as pilot:
        app.start(lambda: engine_process.launch(db, file, LaunchRequest(tasks=rows, workers=8)))
        await pilot.pause()
        deck_ = Steered(app, pilot, db)
        try:
            await deck_.until(lambda: deck_.screen.panes.ready and deck_.screen.view.tasks.opened == tasks)
            yield deck_
        finally:
            for engine in app.engines.values():
                if engine.ended is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(engine.pid, signal.SIGKILL)

"""The console leaves nothing of the store open: no thread, no file, whatever was on the screen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.screen import Screen

from agentdeck.console.app import DeckApp
from agentdeck.console.row_list import RowList
from agentdeck.console.run_preview import RunPreview
from agentdeck.console.screens.history import HistoryScreen
from agentdeck.console.screens.letters import LettersScreen
from agentdeck.console.screens.replay import ReplayScreen
from agentdeck.console.screens.run import RunScreen
from agentdeck.engine.launch import Outcome
from tests.console.conftest import until
from tests.store.open_connections import assert_all_closed

pytestmark = pytest.mark.anyio


async def test_nothing_stays_open_after_all_screens(recorded: tuple[Path, Outcome]) -> None:
    db, outcome = recorded
    app = DeckApp(db)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: bool(app.screen.query_one(RowList).rows))
        app.screen.query_one(RunPreview).show_run(db, outcome.run)
        screens: list[tuple[Callable[[], Screen[None]], Callable[[Screen[None]], bool]]] = [
            (HistoryScreen, lambda screen: any(one.rows for one in screen.query(RowList))),
            (LettersScreen, lambda screen: isinstance(screen, LettersScreen) and bool(screen.letters)),
            (lambda: RunScreen(db, outcome.run), lambda screen: bool(screen.query("#graph"))),
            (lambda: ReplayScreen(db, outcome.run), lambda screen: bool(screen.query("#graph"))),
        ]
        for make, is_shown in screens:
            screen = make()
            app.push_screen(screen)
            await until(pilot, lambda screen=screen, is_shown=is_shown: is_shown(screen))  # type: ignore[misc]
    assert_all_closed(db)


async def test_nothing_stays_open_when_it_is_closed_while_it_reads(recorded: tuple[Path, Outcome]) -> None:
    db, outcome = recorded
    for _ in range(3):
        app = DeckApp(db, run=outcome.run)
        async with app.run_test(size=(140, 40)):
            app.push_screen(RunScreen(db, outcome.run))
            app.push_screen(HistoryScreen())
        assert_all_closed(db)


WHOLE = """
import asyncio, sys, warnings
from pathlib import Path
from agentdeck import Workflow
from tests.store.open_connections import assert_all_closed

order = Workflow("order", inputs={"id": {"type": "string", "default": "A-1"}})

@order.agent
async def read(id):
    return id

db = Path(sys.argv[1])
asyncio.run(order.run(db=db))
assert_all_closed(db)

from agentdeck.console.app import DeckApp
from tests.console.conftest import newest

async def show():
    app = DeckApp(db, run=newest(db))
    async with app.run_test(size=(140, 40)) as pilot:
        await pilot.pause(0.5)
        await pilot.press("escape")
        await pilot.pause(0.2)

asyncio.run(show())
assert_all_closed(db)
"""


def test_no_connection_is_left_to_the_garbage_collector(tmp_path: Path) -> None:
    """In development mode Python warns of what was not closed."""
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-c", WHOLE, str(tmp_path / "deck.db")],
        capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2],
        env={**os.environ, "AGENTDECK_DB": str(tmp_path / "deck.db")},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    ours = [line for line in result.stderr.splitlines() if "ResourceWarning" in line]
    assert ours == []

"""The console as its user meets it: opened, looked around in, and left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from textual.events import Paste
from textual.widgets import Input, Static

from agentdeck.console import palette
from agentdeck.console.app import DeckApp
from agentdeck.console.pane import PANES
from agentdeck.console.row_list import RowList
from agentdeck.console.screens.deck import DeckScreen
from agentdeck.console.screens.dialogs import Confirm, Help
from agentdeck.console.screens.history import HistoryScreen
from agentdeck.console.screens.launch import LaunchScreen
from agentdeck.console.screens.run import RunScreen
from agentdeck.engine.launch import Outcome
from agentdeck.operations import engine_process
from tests.console.conftest import SHOP, newest, until

pytestmark = pytest.mark.anyio


def displayed(screen: RunScreen) -> set[str]:
    header = {"header"} if screen.panes.header.display else set[str]()
    return header | {name for name in PANES if screen.panes[name].display}


def page(app: DeckApp) -> str:
    """The text of the page on the selected row."""
    return str(app.screen.query_one("#about", Static).render())


def text_into(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def write(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")


async def test_the_deck_lists_workflows_and_their_faults(tmp_path: Path) -> None:
    write("good.yaml", SHOP)
    write("bad.yaml", "agentdeck: 1\nname: bad\nagents:\n  a: { simulat: {} }\n")
    app = DeckApp(tmp_path / "none.db", open=Path("bad.yaml"))
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: bool(app.screen.query_one(RowList).rows))
        rows = {row.cells[0][0]: row.cells[1][0] for row in app.screen.query_one(RowList).rows}
        assert "shop" in rows
        assert "fault" in rows["bad"]
        assert {"this folder", "examples", "order"} <= set(rows)
        await until(pilot, lambda: "line 4" in page(app))
        assert "simulate" in page(app)

        write("bad.yaml", SHOP.replace("name: shop", "name: better"))
        await until(pilot, lambda: "better" in page(app))


async def test_a_recorded_run_fills_the_run_screen(recorded: tuple[Path, Outcome]) -> None:
    db, outcome = recorded
    app = DeckApp(db, run=newest(db))
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await until(pilot, lambda: screen.view.state == "failed")
        assert screen.run == outcome.run
        assert (screen.view.tasks.done, screen.view.tasks.failed) == (2, 1)
        assert screen.view.seq == outcome.view.seq
        assert len(screen.panes.lines) == 3 + 2
        assert displayed(screen) == {"header", "graph", "agents", "log", "limits"}
        await pilot.press("3")
        await until(pilot, lambda: screen.panes.active == "tasks" and screen.panes.tasks.display)
        assert not screen.panes.agents.display


@pytest.mark.parametrize(("size", "on"), [((80, 24), {"graph"}), ((100, 30), {"graph", "agents"})])
async def test_the_run_screen_adapts(recorded: tuple[Path, Outcome], size: tuple[int, int], on: set[str]) -> None:
    app = DeckApp(recorded[0], run=newest(recorded[0]))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await until(pilot, lambda: screen.panes.ready)
        await pilot.pause()
        assert displayed(screen) == {"header", *on}


async def test_too_small_is_said(tmp_path: Path) -> None:
    app = DeckApp(tmp_path / "none.db")
    async with app.run_test(size=(50, 12)) as pilot:
        await pilot.pause()
        notice = app.screen.query_one("#too-small", Static)
        assert notice.display
        assert "50x12" in str(notice.render())
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert not notice.display


async def test_history_finds_runs(recorded: tuple[Path, Outcome]) -> None:
    db, outcome = recorded
    app = DeckApp(db)
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, DeckScreen))
        await pilot.press("h")
        await until(pilot, lambda: isinstance(app.screen, HistoryScreen))
        rows = app.screen.query_one(RowList)
        await until(pilot, lambda: len(rows.rows) == 1)
        await pilot.press("slash", "z", "z")
        await until(pilot, lambda: not rows.rows)
        await pilot.press("escape")
        await until(pilot, lambda: len(rows.rows) == 1)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert app.screen.run == outcome.run  # type: ignore[attr-defined]


async def test_a_listed_run_is_filtered_forked_and_deleted(
    recorded: tuple[Path, Outcome], tmp_path: Path
) -> None:
    db = tmp_path / "own.db"
    shutil.copy(recorded[0], db)
    app = DeckApp(db)
    async with app.run_test(size=(140, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, DeckScreen))
        await pilot.press("h")
        await until(pilot, lambda: isinstance(app.screen, HistoryScreen))
        history = app.screen
        rows = history.query_one(RowList)
        await until(pilot, lambda: len(rows.rows) == 1)
        for text, many in (("state:done", 0), ("state:failed since:1d", 1), ("until:1d", 0)):
            history.query_one(Input).value = text
            await until(pilot, lambda many=many: len(rows.rows) == many)  # type: ignore[misc]
        history.query_one(Input).value = ""
        await until(pilot, lambda: len(rows.rows) == 1)
        rows.focus()
        await pilot.press("X")
        assert isinstance(app.screen, HistoryScreen)
        await pilot.press("f")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, RunScreen), 20)
        (made,) = app.engines
        await until(pilot, lambda: app.engines[made].ended is not None, 20)
        await pilot.press("q")
        await until(pilot, lambda: app.screen is history and len(rows.rows) == 2)
        await until(pilot, lambda: rows.key != "")
        await pilot.press("home", "D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        gone = rows.key
        await pilot.press("y")
        await until(pilot, lambda: len(rows.rows) == 1 and rows.rows[0].key != gone, 10)


LONG = """
agentdeck: 1
name: long
agents:
  wait: { simulate: { takes: 300s } }
"""


async def test_a_listed_run_is_retried_and_one_that_executes_is_cancelled(
    recorded: tuple[Path, Outcome], tmp_path: Path
) -> None:
    db, file = tmp_path / "own.db", tmp_path / "long.yaml"
    shutil.copy(recorded[0], db)
    text_into(file, LONG)
    app = DeckApp(db)
    async with app.run_test(size=(140, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, DeckScreen))
        app.start(lambda: engine_process.launch(db, file, engine_process.LaunchRequest()), look=False)
        (long,) = app.engines
        await pilot.press("h")
        await until(pilot, lambda: isinstance(app.screen, HistoryScreen))
        history = app.screen
        rows = history.query_one(RowList)
        await until(pilot, lambda: [row.key for row in rows.rows] == [long, recorded[1].run], 20)
        rows.focus()
        await pilot.press("home")
        await pilot.press("D")
        assert app.screen is history, "what executes is not deleted"
        await pilot.press("X")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: app.engines[long].ended is not None, 20)
        await until(pilot, lambda: "cancelled" in rows.rows[0].cells[0][0], 20)
        await pilot.press("end", "R")
        await until(pilot, lambda: isinstance(app.screen, Confirm), 10)
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, RunScreen), 20)
        assert app.screen.run == recorded[1].run  # type: ignore[attr-defined]
        await until(pilot, lambda: app.engines[recorded[1].run].ended is not None, 20)
        view = app.screen.view  # type: ignore[attr-defined]
        await until(pilot, lambda: sum(moment.kind == "failed" for moment in view.timeline) == 2, 10)


async def test_help_tells_the_keys_of_the_screen(tmp_path: Path) -> None:
    app = DeckApp(tmp_path / "none.db")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, DeckScreen))
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, Help))
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, DeckScreen))


@pytest.mark.parametrize("keys", [("q",), ("ctrl+q",), ("question_mark", "ctrl+q"), ("h", "ctrl+q")])
async def test_quitting(tmp_path: Path, keys: tuple[str, ...]) -> None:
    app = DeckApp(tmp_path / "none.db")
    async with app.run_test() as pilot:
        await until(pilot, lambda: isinstance(app.screen, DeckScreen))
        await pilot.press(*keys)
        await until(pilot, lambda: not app.is_running or app._exit)
    assert app.return_code == 0


async def test_the_palette_finds_actions_and_runs(
    recorded: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(palette, "PATIENCE", 60.0)  # a busy machine is slow to read the store
    app = DeckApp(recorded[0])
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, DeckScreen))
        await pilot.press("colon", *recorded[1].run, "enter")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))


async def test_the_palette_takes_no_text_of_several_lines(tmp_path: Path) -> None:
    app = DeckApp(tmp_path / "deck.db")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, DeckScreen))
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.focused, Input))
        line = app.focused
        assert isinstance(line, Input)
        line.post_message(Paste("hurry 17\ncancel 18"))
        await until(pilot, lambda: bool(app._notifications))
        assert line.value == ""
        line.post_message(Paste("hist\n"))
        await until(pilot, lambda: line.value == "hist")


async def test_a_run_is_launched_steered_and_cancelled(tmp_path: Path) -> None:
    """In a process of its own; the question that asks what becomes of it when the console is closed."""
    text = SHOP.replace('takes: 2ms, says: ["order', 'takes: 20s, says: ["order')
    write("slow.yaml", text)
    app = DeckApp(tmp_path / "deck.db", open=Path("slow.yaml"))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.screen.query_one(RowList).key.endswith("slow.yaml"))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, LaunchScreen))
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await until(pilot, lambda: len(screen.view.running) == 1, 15)
        engine = app.engines[screen.run]
        assert os.getsid(engine.pid) == engine.pid

        await pilot.press("p")
        await until(pilot, lambda: screen.view.state == "paused")
        await pilot.press("p")
        await until(pilot, lambda: screen.view.state == "running")
        workers = screen.view.workers
        assert workers is not None
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: (screen.view.workers or 0) > workers)

        await pilot.press("X")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        assert screen.view.state == "running"

        await pilot.press("ctrl+q")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("x")
        await until(pilot, lambda: engine.ended is not None)
    assert app.return_code == 0

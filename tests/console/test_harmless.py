"""Nothing that agents say, return, raise, ask or are called does anything to the terminal, on any screen."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot

from agentdeck.console.app import DeckApp
from agentdeck.console.form_fields import TextEntry
from agentdeck.console.pane import PANES, Selection
from agentdeck.console.row_list import RowList
from agentdeck.console.screens.history import HistoryScreen
from agentdeck.console.screens.launch import LaunchScreen
from agentdeck.console.screens.letters import LettersScreen
from agentdeck.console.screens.replay import ReplayScreen
from agentdeck.console.screens.run import RunScreen
from agentdeck.console.step_detail import StepDetail
from agentdeck.operations.commands import hurry
from agentdeck.store.reader import Reader
from agentdeck.terminal_text import dotted
from benchmarks.terminal import Terminal
from tests.console.conftest import newest, until
from tests.console.evil import ALL, EVIL, FORBIDDEN, check, recorded, root

pytestmark = pytest.mark.anyio
#: What Textual itself writes: styles, places, modes, the shape of the mouse.
SPOKEN = re.compile(rb"\x1b\[[0-9;]*[mH]|\x1b\[[?>=<][0-9;]*(?:\$p|[hlu])|\x1b\]22;\w*\x07")
SIZES = [(80, 24), (160, 48)]


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("evil"))


async def look(pilot: Pilot[None], app: App[None], where: str) -> None:
    await pilot.pause()
    check(app, where)


async def opened(pilot: Pilot[None], app: DeckApp) -> RunScreen:
    await until(pilot, lambda: isinstance(app.screen, RunScreen))  # the store is read first
    screen = app.screen
    assert isinstance(screen, RunScreen)
    await until(pilot, lambda: screen.view.ended is not None and bool(screen.panes.lines.texts))
    await pilot.pause(0.1)
    return screen


@pytest.mark.parametrize("size", SIZES)
async def test_every_pane_of_a_run(evil: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunScreen, "action_back", lambda _: None)
    monkeypatch.setattr(RunScreen, "action_up", lambda _: None)
    app = DeckApp(evil, run=newest(evil))
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot, app)
        for number, name in enumerate(PANES, 1):
            await pilot.press(str(number))
            await until(pilot, lambda name=name: screen.panes.active == name)  # type: ignore[misc]
            for key in ("down", "end", "slash", "e", "enter", "right"):
                await pilot.press(key)
                screen.frame()
                await look(pilot, app, f"{name} after {key}")
                while app.screen is not screen:
                    app.pop_screen()
            await pilot.press("escape", "escape")
        screen.panes.select(Selection())
        screen.panes.show("log")
        await pilot.press("home", "W")
        await look(pilot, app, "log, wrapped")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is not screen)
        await look(pilot, app, "one line, whole")


def last_run(db: Path) -> str:
    reader = Reader(db)
    try:
        return reader.run("last").run
    finally:
        reader.close()


@pytest.mark.parametrize("step", ["says", "fails", "shell", "model", "each[0]", "asks"])
async def test_every_step_told_whole(evil: Path, step: str) -> None:
    app = DeckApp(evil, run=newest(evil))
    async with app.run_test(size=(100, 40)) as pilot:
        screen = await opened(pilot, app)
        task = max((row.task for row in screen.view.recent), key=len)
        detail = StepDetail(screen.controls.records.story(task, step))
        await app.push_screen(detail)
        await until(pilot, lambda: detail.story is not None)
        for key in ("end", "home", "m", "end"):
            await look(pilot, app, f"{step} before {key}")
            await pilot.press(key)
        await look(pilot, app, step)


@pytest.mark.parametrize("size", SIZES)
async def test_the_other_screens(evil: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    home = next(path for path in evil.parent.iterdir() if path.is_dir())
    monkeypatch.chdir(home)
    app = DeckApp(evil, open=next(home.glob("*.yaml")))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: bool(app.screen.query_one(RowList).rows))
        await look(pilot, app, "deck")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, LaunchScreen))
        await until(pilot, lambda: bool(app.screen.query(TextEntry)))
        await look(pilot, app, "launch")
        for _ in range(6):
            await pilot.press("tab", "end")
            await look(pilot, app, "launch, the next field")
        await pilot.press("escape")
        screens: list[tuple[Callable[[], Any], tuple[str, ...]]] = [
            (HistoryScreen, ("down", "end")),
            (LettersScreen, ("down", "enter", "down", "end", "enter", "end")),
            (lambda: ReplayScreen(evil, last_run(evil)), ("space", "full_stop", "right_curly_bracket", "5")),
        ]
        for make, keys in screens:
            screen = make()
            app.push_screen(screen)
            await pilot.pause(0.5)
            name = type(screen).__name__
            await look(pilot, app, name)
            for key in keys:
                await pilot.press(key)
                await look(pilot, app, f"{name} after {key}")
            if app.screen is not screen:
                app.pop_screen()
            app.pop_screen()


@pytest.mark.parametrize("text", EVIL, ids=range(len(EVIL)))
async def test_what_is_typed_into_keeps_it_and_shows_dots(text: str) -> None:
    app = App[None]()
    async with app.run_test(size=(200, 5)) as pilot:
        entry = TextEntry(text)
        await app.mount(entry)
        await look(pilot, app, "an entry")
        assert entry.value == text
        assert len(dotted(text)) == len(text)


async def test_palette_questions_and_toasts(evil: Path, tmp_path: Path) -> None:
    db = tmp_path / "deck.db"
    shutil.copy(evil, db)
    app = DeckApp(db, run=newest(db))
    async with app.run_test(size=(100, 40)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("ctrl+p")
        await pilot.press(*"run")
        await pilot.pause(0.4)
        check(app, "palette")
        await pilot.press("escape")
        await pilot.press("3", "end", "c")
        await look(pilot, app, "a question")
        await pilot.press("escape")
        screen.send_command(screen.run, hurry(ALL))
        await pilot.pause(0.6)
        check(app, "an answer")
        screen.live.feed.fault = ALL
        await pilot.pause(0.2)
        check(app, "a fault of the store")


def test_a_real_terminal_is_told_nothing_but_colours_places_and_modes(evil: Path, tmp_path: Path) -> None:
    call = f"DeckApp(Path({str(evil)!r}), run={newest(evil)!r}).run()"
    call = f"from pathlib import Path; from agentdeck.console.app import DeckApp; {call}"
    env = {"PYTHONPATH": root(), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    terminal = Terminal([sys.executable, "-c", call], env=env, folder=tmp_path)
    try:
        terminal.wait_for("graph")
        terminal.drain(2.0)
        for keys in ("2", "3", "4", "5", "5z", "\x1b[F", "z", "L", "q", "3\r", "\x1b"):
            terminal.press(keys)
            terminal.drain(0.15)
        seen = re.sub(rb"\x1b[^\x1b]{0,20}$", b"", terminal.seen)  # the read may end inside a sequence
    finally:
        terminal.close()
    assert "株式会社".encode() in seen
    left = SPOKEN.sub(b"", seen)
    assert not re.search(rb"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]", left), set(re.findall(rb"\x1b.{0,12}", left))
    assert not FORBIDDEN.search(left.decode(errors="ignore").replace("\r", "").replace("\n", ""))
    assert not re.search(rb"\x1b(\[31m|\[6n|\[2J)", seen)
    assert seen.count(b"\x1b[?1049h") <= 1

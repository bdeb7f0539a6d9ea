"""Nothing that agents say, return, raise, ask or are called does anything to the terminal, on any screen."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from agentdeck.console.app import DeckApp
from agentdeck.console.detail import StepDetail
from agentdeck.console.pane import Focus
from agentdeck.console.screens.history import HistoryScreen
from agentdeck.console.screens.letters import LettersScreen
from agentdeck.console.screens.replay import ReplayScreen
from agentdeck.console.screens.run import RunScreen
from agentdeck.console.screens.stage import PANES
from tests.console.conftest import until
from tests.console.evil import ALL, check, recorded

pytestmark = pytest.mark.anyio
SIZES = [(80, 24), (160, 48)]


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("evil"))


async def look(pilot: Pilot[None], app: DeckApp, where: str) -> None:
    await pilot.pause()
    check(app, where)


async def opened(pilot: Pilot[None], app: DeckApp) -> RunScreen:
    screen = app.screen
    assert isinstance(screen, RunScreen)
    await until(pilot, lambda: screen.view.ended is not None and bool(screen.lines.texts))
    await pilot.pause(0.1)
    return screen


@pytest.mark.parametrize("size", SIZES)
async def test_every_pane_of_a_run(evil: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunScreen, "action_back", lambda _: None)
    app = DeckApp(evil, run="last")
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot, app)
        for number, name in enumerate(PANES, 1):
            await pilot.press(str(number))
            await until(pilot, lambda name=name: screen.main == name)  # type: ignore[misc]
            for key in ("down", "end", "slash", "e", "enter", "right"):
                await pilot.press(key)
                screen.frame()
                await look(pilot, app, f"{name} after {key}")
                while app.screen is not screen:
                    app.pop_screen()
            await pilot.press("escape", "escape")
        screen.select(Focus())
        screen.go("log")
        await pilot.press("home", "W")
        await look(pilot, app, "log, wrapped")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is not screen)
        await look(pilot, app, "one line, whole")


@pytest.mark.parametrize("step", ["says", "fails", "shell", "model", "each[0]", "asks"])
async def test_every_step_told_whole(evil: Path, step: str) -> None:
    app = DeckApp(evil, run="last")
    async with app.run_test(size=(100, 40)) as pilot:
        screen = await opened(pilot, app)
        task = max((row.task for row in screen.view.recent), key=len)
        detail = StepDetail(lambda: screen.story(task, step))
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
        await pilot.pause(0.5)
        await look(pilot, app, "deck")
        await pilot.press("enter")
        await look(pilot, app, "launch")
        for _ in range(6):
            await pilot.press("tab", "end")
            await look(pilot, app, "launch, the next field")
        await pilot.press("escape")
        screens: list[tuple[Callable[[], Any], tuple[str, ...]]] = [
            (HistoryScreen, ("down", "end")),
            (LettersScreen, ("down", "enter", "down", "end", "enter", "end")),
            (lambda: ReplayScreen(evil, app._named("last")), ("space", "full_stop", "right_curly_bracket", "5")),
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


async def test_palette_questions_and_toasts(evil: Path, tmp_path: Path) -> None:
    db = tmp_path / "deck.db"
    shutil.copy(evil, db)
    app = DeckApp(db, run="last")
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
        screen.ask("hurry", {"task": ALL})
        await pilot.pause(0.6)
        check(app, "an answer")
        screen.feed.fault = ALL
        await pilot.pause(0.2)
        check(app, "a fault of the store")

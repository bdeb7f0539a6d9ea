"""A key comes before what can wait, and none is lost because its screen has not read its rows yet."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest
from textual import events
from textual.widgets import Input

from agentdeck.console import key_priority
from agentdeck.console.app import DeckApp
from agentdeck.console.palette import Palette
from agentdeck.console.run_preview import RunPreview
from agentdeck.console.screens import base
from agentdeck.console.screens import run as run_screen
from agentdeck.console.screens.deck import DeckScreen
from agentdeck.console.screens.dialogs import Confirm
from agentdeck.console.screens.letters import LettersScreen
from agentdeck.console.screens.run import RunScreen
from agentdeck.engine.launch import Outcome
from agentdeck.store.letters import Letter
from agentdeck.store.reader import Reader
from tests.console.conftest import newest, until

pytestmark = pytest.mark.anyio


async def test_no_frame_is_drawn_while_a_key_waits_for_its_repaint(
    recorded: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = DeckApp(recorded[0], run=newest(recorded[0]))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.live.caught_up)
        screen = app.screen
        assert isinstance(screen, RunScreen)
        monkeypatch.setattr(key_priority, "REPAINT", float("inf"))
        monkeypatch.setattr(run_screen, "REPAINT", 60.0)
        monkeypatch.setattr(run_screen, "AT_LATEST", float("inf"))
        await pilot.press("2")
        drawn = screen._drawn_at
        screen.frame()
        assert screen._drawn_at == drawn
        monkeypatch.setattr(run_screen, "AT_LATEST", 0.0)
        screen.frame()
        assert screen._drawn_at > drawn, "not for ever"
        monkeypatch.setattr(run_screen, "AT_LATEST", float("inf"))
        monkeypatch.setattr(key_priority, "REPAINT", 0.0)
        drawn = screen._drawn_at
        screen.frame()
        assert screen._drawn_at > drawn


async def test_what_another_screen_covers_is_not_read_and_not_drawn(recorded: tuple[Path, Outcome]) -> None:
    app = DeckApp(recorded[0], run=newest(recorded[0]))
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.live.caught_up)
        deck = app.screen_stack[0]
        assert isinstance(deck, DeckScreen)
        preview = deck.query_one(RunPreview)
        await until(pilot, lambda: bool(deck._shown_key) and deck._draw_timer is None)
        drawn = len(preview.children)  # it may have been on the screen long enough to draw a workflow
        assert preview._feed is None
        deck._draw()
        assert len(preview.children) == drawn
        await pilot.press("q")
        await until(pilot, lambda: app.screen is deck and len(preview.children) > 0)


async def test_the_console_collects_garbage_by_itself_and_leaves_it_to_python_at_the_end(tmp_path: Path) -> None:
    app = DeckApp(tmp_path / "none.db")
    async with app.run_test() as pilot:
        await until(pilot, lambda: not gc.isenabled())
    assert gc.isenabled()


class SlowLetters:
    """A store whose letters are read only once it is `ready`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ready = threading.Event()
        read = Reader.letters

        def letters(reader: Reader, run: str | None = None, *, state: str | None = None) -> list[Letter]:
            self.ready.wait(60)
            return read(reader, run, state=state)

        monkeypatch.setattr(Reader, "letters", letters)


async def test_keys_that_come_before_the_rows_are_handled_once_they_are_there(
    recorded: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "PATIENCE", 60.0)
    store = SlowLetters(monkeypatch)
    app = DeckApp(recorded[0])
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, DeckScreen) and not app.screen.reads_rows)
        screen = LettersScreen()
        await app.push_screen(screen)
        await pilot.press("slash", "p", "a", "enter", "R")
        assert app.screen is screen
        assert not screen.letters
        store.ready.set()
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert screen._causes.filter == "pa"


@pytest.mark.parametrize(("patience", "key"), [(60.0, "escape"), (0.05, "q")])
async def test_keys_wait_no_longer_than_they_have_to(
    recorded: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch, patience: float, key: str
) -> None:
    app = DeckApp(recorded[0])
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, DeckScreen) and not app.screen.reads_rows)
        deck = app.screen
        monkeypatch.setattr(base, "PATIENCE", patience)
        store = SlowLetters(monkeypatch)
        await app.push_screen(LettersScreen())
        await pilot.press(key)
        await until(pilot, lambda: app.screen is deck)
        store.ready.set()


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_a_limit_can_be_edited_with_the_key_after_the_one_that_shows_it(
    recorded: tuple[Path, Outcome], size: tuple[int, int]
) -> None:
    app = DeckApp(recorded[0], run=newest(recorded[0]))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.live.caught_up)
        screen = app.screen
        assert isinstance(screen, RunScreen)
        assert screen._frame_timer is not None
        screen._frame_timer.pause()
        screen.panes.limits.rows.set_rows(())
        await pilot.press("t", "enter")
        assert screen.panes.limits.editing


async def test_keys_that_come_at_once_are_handled_one_after_the_other(recorded: tuple[Path, Outcome]) -> None:
    app = DeckApp(recorded[0], run=newest(recorded[0]))
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.live.caught_up)
        screen = app.screen
        assert isinstance(screen, RunScreen)
        for key, character in (("2", "2"), ("slash", "/"), ("p", "p"), ("a", "a"), ("enter", None), ("t", "t")):
            app.post_message(events.Key(key, character))
        await until(pilot, lambda: screen.panes.active == "limits")
        assert screen.panes.agents.filter == "pa"


async def test_what_is_typed_with_the_key_that_opens_a_dialog_is_in_its_field(
    recorded: tuple[Path, Outcome],
) -> None:
    app = DeckApp(recorded[0])
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, DeckScreen) and not app.screen.reads_rows)
        for key, character in (("colon", ":"), ("t", "t"), ("h", "h"), ("e", "e")):
            app.post_message(events.Key(key, character))
        await until(pilot, lambda: [field.value for field in app.screen.query(Input)] == ["the"])
        assert isinstance(app.screen, Palette)


async def test_a_key_may_be_handled_when_the_console_has_closed_its_screens(
    recorded: tuple[Path, Outcome],
) -> None:
    app = DeckApp(recorded[0])
    async with app.run_test(size=(120, 40)):
        pass
    assert not app.screen_stack
    await app.on_key_handled()

"""Every screen at every size that people have: nothing lies outside, nothing has no room, help is in sight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen

from agentdeck.console.app import DeckApp
from agentdeck.console.pane import PANES
from agentdeck.console.row_list import RowList
from agentdeck.console.screens.base import LEAST
from agentdeck.console.screens.history import HistoryScreen
from agentdeck.console.screens.launch import LaunchScreen
from agentdeck.console.screens.letters import LettersScreen
from agentdeck.console.screens.replay import ReplayScreen
from agentdeck.console.screens.run import RunScreen
from agentdeck.console.status_lines import Footer, KeyHint, fit_hints
from agentdeck.engine.launch import Outcome
from tests.console.conftest import until

SIZES = (LEAST, (80, 24), (160, 48), (240, 70))


def fits(screen: Screen[Any]) -> None:
    """What can have the keys can be seen, whole or by scrolling; the bottom line names help."""
    width, height = screen.size
    for widget in screen.focus_chain:
        above = [node for node in widget.ancestors_with_self if getattr(node, "is_scrollable", False)]
        if not above or above == [widget]:
            region = widget.region
            assert region.width >= 8, (screen, widget, region)
            assert region.height >= 1, (screen, widget, region)
            assert region.right <= width, (screen, widget, region)
            assert region.bottom <= height, (screen, widget, region)
    for foot in screen.query(Footer):
        line = "".join(segment.text for segment in foot.render_line(0))
        assert "? Help" in line
        assert len(line) == width


@pytest.mark.anyio
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_every_screen_fits(recorded: tuple[Path, Outcome], size: tuple[int, int]) -> None:
    db, outcome = recorded
    app = DeckApp(db)

    async def on(pilot: Pilot[None], kind: type[Screen[Any]]) -> None:
        await until(pilot, lambda: isinstance(app.screen, kind))
        await pilot.pause()

    async with app.run_test(size=size) as pilot:
        deck = app.screen
        await until(pilot, lambda: bool(deck.query_one(RowList).rows))
        await pilot.pause()
        fits(deck)
        for key, kind in (("h", HistoryScreen), ("l", LettersScreen)):
            await pilot.press(key)
            await on(pilot, kind)
            fits(app.screen)
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is deck)
        deck.query_one(RowList).action_edge(1)
        await pilot.press("enter")
        await on(pilot, LaunchScreen)
        fits(app.screen)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is deck)
        app.open_run(outcome.run)
        await on(pilot, RunScreen)
        run = app.screen
        assert isinstance(run, RunScreen)
        await until(pilot, lambda: run.panes.ready)
        for name in PANES:
            run.panes.show(name)
            await until(pilot, lambda name=name: run.panes[name].size.height > 1)  # type: ignore[misc]
            fits(run)
        run.action_replay()
        await on(pilot, ReplayScreen)
        replay = app.screen
        assert isinstance(replay, ReplayScreen)
        await until(pilot, lambda: replay.panes.ready and replay.panes.graph.size.height > 1)
        fits(replay)


def test_the_bottom_line_keeps_the_way_out() -> None:
    pane = [KeyHint(key, key, f"pane {key}", False) for key in "abcdef"]
    screen = [KeyHint(key, key, f"screen {key}", False) for key in "ghij"] + [KeyHint("?", "?", "Help", True)]
    assert [hint.key for hint in fit_hints(pane, screen, 200)] == [*"abcdefghij", "?"]
    assert [hint.key for hint in fit_hints(pane, screen, 60)] == [*"abcg", "?"]
    assert [hint.key for hint in fit_hints(pane, screen, 10)] == ["?"]

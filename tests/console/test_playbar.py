"""The bar of a replay."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult

from agentdeck.console.panes.playbar import PlayBar
from agentdeck.insight.replay import Playback
from tests.insight.test_playback import DEFINITION, LOG

pytestmark = pytest.mark.anyio


class Bar(App[None]):
    def compose(self) -> ComposeResult:
        yield PlayBar(Playback(DEFINITION, LOG))


def text(bar: PlayBar, y: int) -> str:
    return "".join(piece for piece, _ in bar.draw(y, bar.size.width).pieces)


async def test_keys_play_step_and_go() -> None:
    app = Bar()
    async with app.run_test(size=(120, 6)) as pilot:
        bar = app.query_one(PlayBar)
        bar.focus()
        await pilot.press("right", "right", "left")
        assert bar.playback.target == 1
        await pilot.press("plus", "space")
        assert (bar.playback.playing, bar.playback.speed) == (True, 2.0)
        bar.pass_time(0.0, 1.0)
        bar.pass_time(3.0, 1.0)
        assert bar.playback.now - bar.playback.begin >= 6.0
        await pilot.press("space", *"50%", "enter")
        back = bar.playback
        assert back.now - back.begin == pytest.approx((back.end - back.begin) / 2)
        await pilot.press(*"#7", "enter")
        bar.pass_time(0.0, 1.0)
        assert back.view.seq == LOG[6][0]
        assert "event 7 of" in text(bar, 0)
        await pilot.press("end")
        bar.pass_time(0.0, 1.0)
        assert back.view.state in ("done", "failed")
        await pilot.press("less_than_sign")
        assert back.target == back.marks[-1].place


async def test_the_bar_shows_failures_and_is_dragged() -> None:
    app = Bar()
    async with app.run_test(size=(120, 6)) as pilot:
        bar = app.query_one(PlayBar)
        assert "✗" in text(bar, 1)
        await pilot.mouse_down(bar, offset=(60, 1))
        await pilot.mouse_up(bar, offset=(60, 1))
        back = bar.playback
        assert (back.now - back.begin) / (back.end - back.begin) == pytest.approx(60 / 119)
        assert text(bar, 1).index("█" if bar.has_focus else "┃") in (59, 60)

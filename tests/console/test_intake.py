"""Taking events in: all of them, in slices between which the loop comes round."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from agentdeck.console.app import DeckApp
from agentdeck.console.feed import Feed
from agentdeck.console.log.lines import LineStore
from agentdeck.console.run_state import LiveRun
from agentdeck.console.screens.history import HistoryScreen
from agentdeck.console.screens.run import RunScreen
from agentdeck.engine.launch import Outcome
from agentdeck.scheduler import events as ev
from tests.console.conftest import newest, until
from tests.console.log.samples import rows

pytestmark = pytest.mark.anyio
MANY = 50_000


def filled(events: int, lines: int) -> Feed:
    """A feed that has read so much, and reads no more."""
    feed = Feed(Path("none.db"), "r")
    feed._events.extend((n, ev.Noted(float(n), "1", "a", "said")) for n in range(1, events + 1))
    feed._lines.extend(rows(f"line {n}" for n in range(lines)))
    feed.known = events
    return feed


def taking(feed: Feed, lines: LineStore) -> LiveRun:
    """A run of which a first slice has been taken in."""
    live = LiveRun(Path("none.db"), "r", feed)
    live.open(None, lines)
    live.take()
    return live


async def test_the_loop_comes_round_between_two_slices() -> None:
    feed, lines = filled(MANY, 5000), LineStore()
    live = taking(feed, lines)
    view = live.view
    assert 0 < view.seq < MANY
    assert lines.texts, "lines do not wait until all events are in"
    steps = [view.seq]
    while feed.waiting:
        await asyncio.sleep(0)
        steps.append(view.seq)
    assert (view.seq, len(lines), live.taken) == (MANY, 5000, MANY + 5000)
    slices = len(set(steps))
    assert slices >= 10
    assert len(steps) > slices, "it came round more often than there were slices"
    assert max(b - a for a, b in pairwise(steps)) < MANY / 5


async def test_it_is_late_until_all_is_in() -> None:
    feed = filled(MANY, 0)
    live = taking(feed, LineStore())
    live._complete -= 10
    assert live.behind == MANY - live.view.seq
    assert live.late > 9
    for _ in range(1_000_000):
        await asyncio.sleep(0)
        if not feed.waiting:
            break
    assert live.behind == 0
    assert live.late == 0


async def test_a_closed_one_takes_no_more() -> None:
    live = taking(filled(MANY, 0), LineStore())
    await live.close()
    stood = live.view.seq
    await asyncio.sleep(0.02)
    assert live.view.seq == stood < MANY


async def test_a_run_is_taken_in_while_another_screen_covers_it(recorded: tuple[Path, Outcome]) -> None:
    db, outcome = recorded
    app = DeckApp(db, run=newest(db))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        screen = app.screen
        assert isinstance(screen, RunScreen)
        app.push_screen(HistoryScreen())
        await until(pilot, lambda: screen.view.seq == outcome.view.seq)
        assert app.screen is not screen
        app.pop_screen()
        await until(pilot, lambda: screen.panes.header._view is screen.view)

"""While a view catches up, the console says how far it has read, and shows no state, count, pace or ETA."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from agentdeck.console import run_state
from agentdeck.console.app import DeckApp
from agentdeck.console.panes.header import Header
from agentdeck.console.run_preview import RunPreview
from agentdeck.console.screens.dialogs import Confirm
from agentdeck.console.screens.run import RunScreen
from agentdeck.console.table import Table
from agentdeck.engine.launch import Launch, Outcome
from agentdeck.engine.launch import run as start
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView
from agentdeck.workflow.loader import loads
from tests.console.conftest import until
from tests.console.scenes import Stage, page

pytestmark = pytest.mark.anyio

MANY = """
agentdeck: 1
name: many
agents:
  read: { simulate: { takes: 0ms } }
  work: { needs: read, simulate: { takes: 0ms } }
"""
TASKS = 300


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("long")
    order = Launch(loads(MANY).definition, folder, {}, [{} for _ in range(TASKS)], 8, db=folder / "deck.db")
    return folder / "deck.db", asyncio.run(start(order))


async def test_a_finished_run_says_how_far_it_is_read_until_all_is(
    long_run: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_state, "SLICE", 0.0)  # 64 events at a time
    monkeypatch.setattr(run_state, "PAUSE", 0.05)
    db, outcome = long_run
    app = DeckApp(db, run=outcome.run)
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.panes.ready)
        screen = app.screen
        assert isinstance(screen, RunScreen)
        shares = set()
        while not screen.live.caught_up:
            await pilot.pause(0.01)
            screen.frame()
            if screen.live.caught_up or not screen.live.is_open:
                break
            top = page(screen.panes.header)
            if "no run" in top[0]:  # the header has not been laid out, so it was not drawn
                continue
            found = re.search(r"reading (\d+) %", top[0])
            assert found, top
            shares.add(int(found[1]))
            told = "\n".join(top)
            assert not re.search(r"running|done|open|steps/s|ETA|/300", told), told
            agents = screen.panes.agents
            assert isinstance(agents, Table)
            assert re.search(r"reading \d+ %", page(agents)[1])
        assert len(shares) > 3
        screen.frame()
        assert "✓ done" in page(screen.panes.header)[0]
        assert "300 done" in page(screen.panes.header)[1]


async def test_what_would_be_lost_is_not_counted_before_it_is_read(
    long_run: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_state, "SLICE", 0.0)
    monkeypatch.setattr(run_state, "PAUSE", 60.0)
    db, outcome = long_run
    app = DeckApp(db, run=outcome.run)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(
            pilot,
            lambda: isinstance(app.screen, RunScreen) and "reading" in "".join(page(app.screen.panes.header)),
        )
        await pilot.press("X")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert isinstance(app.screen, Confirm)
        assert [re.sub(r"\d+", "N", line) for line in app.screen.touches] == [
            "reading N %: the run has not been read yet, so the effect is unknown"
        ]


async def test_the_pace_begins_when_the_past_is_read() -> None:
    header = Header()
    async with Stage(header).run_test(size=(160, 3)):
        view = RunView()
        view.apply(1, ev.RunStarted(0.0, "r", "w", "", {}, {}))
        for seq in range(2, 2000, 2):
            view.apply(seq, ev.TaskOpened(1.0, str(seq), {}))
            view.apply(seq + 1, ev.TaskEnded(1.0, str(seq), "done"))
            if seq % 100 == 0:
                header.reading = seq / 2000
                header.tick(view, 100.0 + seq / 10_000)
        header.reading = None
        for at in (100.3, 100.4, 100.5):
            header.tick(view, at)
        assert "999 done" in page(header)[1]
        assert "  0 steps/s" in page(header)[1].replace("0.0 ", "0 ")


async def test_the_deck_does_not_draw_a_run_before_it_is_read(
    long_run: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentdeck.console.run_preview.FOLD", 0.0)
    db, outcome = long_run
    peek = RunPreview()
    async with Stage(peek).run_test(size=(160, 48)) as pilot:
        peek.show_run(db, outcome.run)
        await until(pilot, lambda: peek._graph is not None and peek._view is not None and peek._view.seq > 0)
        if peek.reading:
            assert re.fullmatch(r"reading \d+ %", peek.reading)
            assert peek._graph is not None
            assert not peek._graph._live
        await until(pilot, lambda: not peek.reading)
        await until(pilot, lambda: peek._graph is not None and peek._graph._live)

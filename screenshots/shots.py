"""What is worth a picture: how to get to each screen of the console on the recorded runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from agentdeck.console.graph.pane import GraphPane
from agentdeck.console.outline import OutlineView
from agentdeck.console.pane import Selection
from agentdeck.console.row_list import RowList
from agentdeck.console.run_preview import RunPreview
from agentdeck.console.screens.history import HistoryScreen
from agentdeck.console.screens.launch import LaunchScreen
from screenshots.stage import Clock, StillReplay, begun, has_all_events, open_run, redrawn, settle, until


class Place(NamedTuple):
    """Where a picture is taken."""

    pilot: Pilot[None]
    db: Path
    clock: Clock


Way: TypeAlias = Callable[[Place], Awaitable[None]]

#: The runs of the recording.
SHOP, REVIEW, MAP, SKY, NEWS = "k7qday", "k7qrev", "k7qmap", "k7qsky", "k7qnws"


async def deck(place: Place, key: str = "") -> None:
    """The first screen, with this row selected and its graph drawn."""
    pilot = place.pilot
    await begun(pilot)
    rows = pilot.app.screen.query_one(RowList)
    if key:
        rows.show(rows.rows, next(row.key for row in rows.rows if row.key.endswith(key)))
    await settle(pilot)
    peek, page = pilot.app.screen.query_one(RunPreview), pilot.app.screen.query_one("#about", Static)
    wide = not pilot.app.screen.has_class("narrow")
    await until(pilot, lambda: not wide or any(graph.size.height for graph in peek.query(GraphPane)))
    if wide and key.startswith("run:"):
        await until(pilot, lambda: has_all_events(peek) and peek.lines[-1].text in str(page.render()))
    await redrawn(pilot)


async def run(place: Place, name: str, *keys: str) -> None:
    """A run as it looks now, after these keys."""
    await open_run(place.pilot, place.db, name, place.clock)
    for key in keys:
        await place.pilot.press(key)
        await redrawn(place.pilot)


async def step(place: Place, name: str, task: str, key: str) -> None:
    """One step's detail."""
    screen = await open_run(place.pilot, place.db, name, place.clock)
    screen.controls.history.open(Selection(key, task, key))
    await until(place.pilot, lambda: any(sheet.items for sheet in place.pilot.app.screen.query(OutlineView)))
    await settle(place.pilot)


async def launch(place: Place, key: str) -> None:
    await deck(place, key)
    await place.pilot.press("enter")
    await until(place.pilot, lambda: isinstance(place.pilot.app.screen, LaunchScreen))
    form = place.pilot.app.screen
    form.query_one("#tasks", Input).value = "orders.jsonl"
    form.query_one("#workers", Input).value = "64"
    await until(place.pilot, lambda: "1,000 tasks" in str(form.query_one("#forecast", Static).visual))
    await redrawn(place.pilot)


async def history(place: Place) -> None:
    await begun(place.pilot)
    await place.pilot.press("h")
    await until(place.pilot, lambda: isinstance(place.pilot.app.screen, HistoryScreen))
    await begun(place.pilot)
    await settle(place.pilot)


async def letters(place: Place) -> None:
    await begun(place.pilot)
    await place.pilot.press("l")
    await until(place.pilot, lambda: any(sheet.items for sheet in place.pilot.app.screen.query(OutlineView)))
    await settle(place.pilot)


async def replay(place: Place, name: str, at: str) -> None:
    """A run played up to a moment, and stopped there."""
    pilot, screen = place.pilot, StillReplay(place.db, name)
    pilot.app.push_screen(screen)
    await screen.read(pilot)
    assert screen.bar is not None
    screen.bar.playback.playing = False
    await pilot.press("b", *at, "enter")
    await redrawn(pilot)


async def keys(place: Place) -> None:
    screen = await open_run(place.pilot, place.db, SHOP, place.clock)
    await place.pilot.press("question_mark")
    await settle(place.pilot)
    screen.query_one(GraphPane)._built = None  # drawn anew, without what lit up last
    await redrawn(place.pilot)


async def palette(place: Place) -> None:
    await deck(place, f"run:{NEWS}")
    await place.pilot.press("colon", *"lett")
    # Until nothing is found but what has all four letters in it: for fewer, there is more.
    await until(
        place.pilot, lambda: [found.option_count for found in place.pilot.app.screen.query(OptionList)] == [1]
    )
    await redrawn(place.pilot)


#: By name, in the order in which they are shown.
SHOTS: dict[str, Way] = {
    "deck": partial(deck, key=f"run:{SHOP}"),
    "workflow": partial(deck, key="code_review.yaml"),
    "launch": partial(launch, key="order.yaml"),
    "run": partial(run, name=SHOP),
    "review": partial(run, name=REVIEW),
    "timeline": lambda place: run(place, SHOP, "4", "z"),
    "tasks": lambda place: run(place, SHOP, "3", "z"),
    "log": lambda place: run(place, SHOP, "5", "z"),
    "limits": lambda place: run(place, SHOP, "6", "z"),
    "large": lambda place: run(place, SKY, "z"),
    "map": lambda place: run(place, SHOP, "z", *"---"),
    "step": partial(step, name=REVIEW, task="1", key="security"),
    "history": history,
    "replay": partial(replay, name=SHOP, at="40"),
    "letters": letters,
    "keys": keys,
    "palette": palette,
}  # fmt: skip

"""What is worth a picture: how to get to each screen of the console on the recorded runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

from textual.pilot import Pilot

from agentdeck.console.app import DeckApp
from agentdeck.console.listing import Listing
from agentdeck.console.screens.history import HistoryScreen
from agentdeck.console.screens.letters import LettersScreen
from agentdeck.console.screens.replay import ReplayScreen
from screenshots.stage import Clock, Still, open_run, settle, until


class Place(NamedTuple):
    """Where a picture is taken."""

    pilot: Pilot[None]
    db: Path
    clock: Clock


Way: TypeAlias = Callable[[Place], Awaitable[None]]

#: The runs of the recording.
SHOP, REVIEW, MAP, PAUSED = "k7qday", "k7qrev", "k7qmap", "k7qdoc"


async def deck(place: Place, key: str = "") -> None:
    """The first screen, with this row selected."""
    rows = place.pilot.app.screen.query_one(Listing)
    await until(place.pilot, lambda: bool(rows.rows))
    if key:
        wanted = next(row.key for row in rows.rows if row.key.endswith(key))
        rows.show(rows.rows, wanted)
    await settle(place.pilot, 0.4)


async def run(place: Place, name: str, *keys: str) -> None:
    """A run as it looks now, after these keys."""
    screen = await open_run(place.pilot, place.db, name, place.clock)
    for key in keys:
        await place.pilot.press(key)
        await _frames(place.pilot, screen)


async def _frames(pilot: Pilot[None], screen: Still) -> None:
    for _ in range(3):
        screen.frame()
        await settle(pilot)


async def step(place: Place, name: str, task: str, key: str) -> None:
    """One step's detail."""
    from agentdeck.console.pane import Focus

    screen = await open_run(place.pilot, place.db, name, place.clock)
    screen.open(Focus(key, task, key))
    await settle(place.pilot, 0.4)


async def launch(place: Place, key: str) -> None:
    await deck(place, key)
    await place.pilot.press("enter")
    await settle(place.pilot, 0.5)


async def history(place: Place) -> None:
    await deck(place)
    await place.pilot.press("h")
    rows = place.pilot.app.screen.query_one(Listing)
    assert isinstance(place.pilot.app.screen, HistoryScreen)
    await until(place.pilot, lambda: bool(rows.rows))
    await settle(place.pilot, 0.2)


async def letters(place: Place) -> None:
    await deck(place)
    place.pilot.app.push_screen(LettersScreen())
    await settle(place.pilot, 0.5)


async def replay(place: Place, name: str, at: str) -> None:
    """A run played up to a moment, and stopped there."""
    screen = ReplayScreen(place.db, name)
    screen.CSS = Still.CSS
    place.pilot.app.push_screen(screen)
    await until(place.pilot, lambda: screen.bar is not None)
    assert screen.bar is not None
    playback = screen.bar.playback
    playback.playing = False
    await place.pilot.press("b", *at, "enter")
    await until(place.pilot, lambda: playback.settled)
    await settle(place.pilot, 0.4)


async def keys(place: Place) -> None:
    await run(place, SHOP)
    await place.pilot.press("question_mark")
    await settle(place.pilot, 0.2)


async def palette(place: Place) -> None:
    await deck(place)
    await place.pilot.press("colon", *"demo")
    await settle(place.pilot, 0.6)


#: By name, in the order in which they are shown.
SHOTS: dict[str, Way] = {
    "deck": partial(deck, key="code_review.yaml"),
    "launch": partial(launch, key="demo.yaml"),
    "run": partial(run, name=SHOP),
    "review": partial(run, name=REVIEW),
    "timeline": lambda place: run(place, REVIEW, "4", "z"),
    "tasks": lambda place: run(place, SHOP, "3", "z"),
    "log": lambda place: run(place, SHOP, "5", "z"),
    "limits": lambda place: run(place, SHOP, "6", "z"),
    "map": lambda place: run(place, MAP, "z", *"---"),
    "step": partial(step, name=REVIEW, task="1", key="security"),
    "history": history,
    "replay": partial(replay, name=SHOP, at="40"),
    "letters": letters,
    "keys": keys,
    "palette": palette,
}  # fmt: skip


def app(db: Path) -> DeckApp:
    return DeckApp(db)

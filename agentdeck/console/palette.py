"""The command palette: every action of this moment, agents, tasks, runs, workflows and themes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.command import CommandInput, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.fuzzy import FuzzySearch

from agentdeck.console.text_entry import Entry
from agentdeck.errors import AgentdeckError
from agentdeck.operations.action_types import EVERYWHERE
from agentdeck.operations.actions import of
from agentdeck.terminal_text import clean

if TYPE_CHECKING:
    from agentdeck.console.app_interface import ConsoleApp
    from agentdeck.store.run_list import RunRow

PATIENCE = 0.5  # seconds that the palette waits for the store


class Found(NamedTuple):
    """One thing that the palette can do. `first`: shown before anything is typed."""

    title: str
    help: str
    do: Callable[[], object]
    first: bool = False


class PaletteInput(CommandInput, Entry):
    """The line of the palette. What is pasted into it is treated as in other fields."""


class Palette(CommandPalette):
    """The palette of textual with that line."""

    def compose(self) -> ComposeResult:
        for widget in super().compose():
            if isinstance(widget, CommandInput):
                widget = PaletteInput(placeholder=self._placeholder, select_on_focus=False)
            yield widget


class Everything(Provider):
    """Fuzzy search over all of it."""

    _found: list[Found]

    async def startup(self) -> None:
        self._found = list(self._all(await _runs(cast("ConsoleApp", self.app).db)))

    def _all(self, runs: list[RunRow]) -> Iterator[Found]:
        app, screen, console = self.app, self.screen, cast("ConsoleApp", self.app)
        scope = getattr(screen, "scope", "")
        live: dict[str, list[str]] = {}
        for active in screen.active_bindings.values():
            live.setdefault(active.binding.id or "", []).append(app.get_key_display(active.binding))
        for action in (*of(scope), *of(EVERYWHERE)):
            if not action.keys or action.id == "everywhere.palette":
                continue
            where = app if action.scope == EVERYWHERE else screen
            keys = " ".join(live.get(action.id, ()))
            told = action.help + (f"  ·  {keys}" if keys else "")
            yield Found(action.title, told, partial(where.run_action, action.method), True)
        offers = getattr(screen, "offers", None)
        if offers is not None:
            yield from offers()
        for row in runs:
            yield Found(f"Run {row.run}: {row.workflow}", row.state, partial(console.open_run, row.run))
        for name in console.theme_names():
            yield Found(f"Theme: {name}", "Another look.", partial(console.use_theme, name))

    async def discover(self) -> Hits:
        for found in self._found:
            if found.first:
                yield DiscoveryHit(Text(clean(found.title)), found.do, found.title, _plain(found.help))

    async def search(self, query: str) -> Hits:
        typed = getattr(self.screen, "typed", None)
        for number, found in enumerate(typed(query) if typed is not None else ()):
            yield Hit(2.0 - number / 1000, Text(clean(found.title)), found.do, found.title, _plain(found.help))
        fuzzy = FuzzySearch()
        for found in self._found:
            title = clean(found.title)
            score, offsets = fuzzy.match(query, title)
            if score > 0:
                text = Text(title)
                for offset in offsets:
                    text.stylize("bold underline", offset, offset + 1)
                yield Hit(score, text, found.do, title, _plain(found.help))


def _plain(text: str) -> str:
    """Help is read as markup by the palette: what looks like a tag is none."""
    return clean(text).replace("[", "\\[")


async def _runs(db: Path) -> list[RunRow]:
    """The newest runs; none where the store cannot be read, or not soon: the palette opens without them then."""
    from agentdeck.store.async_reader import AsyncReader
    from agentdeck.store.reader import Reader

    try:
        async with asyncio.timeout(PATIENCE), AsyncReader(db) as store:
            return await store.read(Reader.runs, 50)
    except (AgentdeckError, TimeoutError):
        return []

"""The command palette: actions of the screen, agents, tasks, runs, workflows and themes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast, runtime_checkable

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.command import CommandInput, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.fuzzy import FuzzySearch
from textual.widgets import Input
from textual.worker import Worker

from agentdeck.console.form_fields import TextEntry
from agentdeck.errors import AgentdeckError
from agentdeck.operations.action_types import EVERYWHERE, Action
from agentdeck.operations.actions import BY_ID, of
from agentdeck.terminal_text import clean

if TYPE_CHECKING:
    from agentdeck.console.screens.base import ConsoleApp

#: Actions of panes that the palette leaves out: they move the cursor, and many words would find them.
MOVES = {
    "up", "down", "left", "right", "first", "last", "top", "bottom", "begin", "end",
    "page_up", "page_down", "page_left", "page_right",
}  # fmt: skip
PATIENCE = 0.5  # seconds that the palette waits for the store


class PaletteEntry(NamedTuple):
    """A line of the palette and what it runs. `first`: it is shown before anything is typed."""

    title: str
    help: str
    do: Callable[[], object]
    first: bool = False


@runtime_checkable
class OffersEntries(Protocol):
    """A screen with entries of its own: agents, tasks, workflows."""

    def offers(self) -> Iterator[PaletteEntry]: ...


@runtime_checkable
class TakesTypedCommands(Protocol):
    """A screen that carries out typed commands."""

    def typed(self, query: str) -> Iterator[PaletteEntry]: ...


class PaletteInput(CommandInput, TextEntry):
    """The input line of the palette, which treats pasted text as the other fields do."""


class Palette(CommandPalette):
    """Textual's palette with this input line. Enter waits for the results of what was typed: the list shows those
    of the text before until then."""

    def compose(self) -> ComposeResult:
        for widget in super().compose():
            if isinstance(widget, CommandInput):
                widget = PaletteInput(placeholder=self._placeholder, select_on_focus=False)
            yield widget

    @on(Input.Submitted)
    def _wait_for_results(self, event: Input.Submitted) -> None:
        if self._searches():
            event.stop()
            event.prevent_default()
            self.run_worker(self._choose_found(), name="enter", group="enter", exclusive=True)

    async def _choose_found(self) -> None:
        while searches := self._searches():
            await asyncio.wait({asyncio.ensure_future(search.wait()) for search in searches})
        self._select_or_command()

    def _searches(self) -> list[Worker[object]]:
        """The searches that have not ended: of what was typed last, and those that it replaced."""
        group = self._GATHER_COMMANDS_GROUP
        return [one for one in self.app.workers if one.group == group and not one.is_finished]


class PaletteEntries(Provider):
    """Fuzzy search over the actions of the screen, its own entries, runs and themes."""

    _entries: list[PaletteEntry]

    async def startup(self) -> None:
        app = cast("ConsoleApp", self.app)
        themes = app.theme_names()
        self._entries = [
            *self._actions(),
            *self._pane_actions(),
            *(self.screen.offers() if isinstance(self.screen, OffersEntries) else ()),
            *(await _newest_runs(app)),
            *(
                PaletteEntry(f"Theme: {name}", "Switch to this theme.", partial(app.use_theme, name))
                for name in themes
            ),
        ]

    def _actions(self) -> Iterator[PaletteEntry]:
        """Yields the actions of the screen and those of everywhere, each with its keys as they are now."""
        for action in (*of(getattr(self.screen, "scope", "")), *of(EVERYWHERE)):
            if not action.keys or action.id == "everywhere.palette":
                continue
            target = self.app if action.scope == EVERYWHERE else self.screen
            yield PaletteEntry(action.title, self._help(action), partial(target.run_action, action.call), True)

    def _pane_actions(self) -> Iterator[PaletteEntry]:
        """Yields the actions of the focused pane, but for those that move in it."""
        nodes = {one.binding.id: one.node for one in self.screen.active_bindings.values() if one.binding.id}
        for name, node in nodes.items():
            action = BY_ID.get(name)
            if action is not None and node not in (self.screen, self.app) and action.name not in MOVES:
                run = partial(self.app.run_action, action.call, node)
                yield PaletteEntry(action.title, self._help(action), run)

    def _help(self, action: Action) -> str:
        """Returns the help of an action with the keys that it has now."""
        active = self.screen.active_bindings.values()
        keys = [self.app.get_key_display(one.binding) for one in active if one.binding.id == action.id]
        return action.help + (f"  ·  {' '.join(keys)}" if keys else "")

    async def discover(self) -> Hits:
        for entry in self._entries:
            if entry.first:
                yield DiscoveryHit(Text(clean(entry.title)), entry.do, entry.title, _escaped(entry.help))

    async def search(self, query: str) -> Hits:
        typed = self.screen.typed(query) if isinstance(self.screen, TakesTypedCommands) else ()
        for number, entry in enumerate(typed):
            title = Text(clean(entry.title))
            yield Hit(2.0 - number / 1000, title, entry.do, entry.title, _escaped(entry.help))
        fuzzy = FuzzySearch()
        for entry in self._entries:
            plain = clean(entry.title)
            score, offsets = fuzzy.match(query, plain)
            if score > 0:
                title = Text(plain)
                for offset in offsets:
                    title.stylize("bold underline", offset, offset + 1)
                yield Hit(score, title, entry.do, plain, _escaped(entry.help))


def _escaped(text: str) -> str:
    """The palette reads help as markup: brackets are escaped, so that data stays text."""
    return clean(text).replace("[", "\\[")


async def _newest_runs(app: ConsoleApp) -> list[PaletteEntry]:
    """Returns the newest runs; none where the store cannot be read in time: the palette opens without them."""
    from agentdeck.store.async_reader import AsyncReader
    from agentdeck.store.reader import Reader

    try:
        async with asyncio.timeout(PATIENCE), AsyncReader(app.db) as store:
            rows = await store.read(Reader.runs, 50)
    except (AgentdeckError, TimeoutError):
        return []
    return [
        PaletteEntry(f"Run {row.run}: {row.workflow}", row.state, partial(app.open_run, row.run)) for row in rows
    ]

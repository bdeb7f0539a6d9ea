"""The single lines of a screen: the tabs of its panes, a notice, and the keys that work now."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from textual import events
from textual.message import Message
from textual.screen import Screen

from agentdeck.console.line_widget import Line, LineWidget, Piece, fit, width_of
from agentdeck.console.pane import PANES, PaneName
from agentdeck.terminal_text import clean


class Tabs(LineWidget, can_focus=False):
    """The panes by number: the active one highlighted, the displayed ones brighter. At the right, what a key acts
    on. The numbers are left out while digits are typed into a field."""

    DEFAULT_CSS = "Tabs { height: 1; }"

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, name: PaneName) -> None:
            super().__init__()
            self.name = name

    def __init__(self) -> None:
        super().__init__()
        self._active = ""
        self._displayed: frozenset[str] = frozenset()
        self._target = ""
        self._numbers = True

    def set_panes(self, active: str, displayed: Collection[str] | None) -> None:
        """Show which pane is active, and which ones are displayed (None: as before)."""
        self._active = active
        self._displayed = self._displayed if displayed is None else frozenset(displayed)
        self.refresh_lines()

    def set_breadcrumb(self, target: str, *, numbers: bool = True) -> None:
        """Show what a key acts on, and whether number keys switch panes now."""
        self._target, self._numbers = clean(target), numbers
        self.refresh_lines()

    def draw(self, y: int, width: int) -> Line:
        pieces: list[Piece] = [(" ", "text")]
        for number, name in enumerate(PANES, 1):
            role = "cursor" if name == self._active else "text" if name in self._displayed else "dim"
            pieces.append((f" {number if self._numbers else ' '} {name} ", role))
        room = width - width_of(pieces) - 2
        if self._target and room > 3:
            shown = fit(self._target, min(room, cell_len(self._target)))
            pieces += [(" " * (room - cell_len(shown) + 1), "text"), (shown, "accent")]
        return Line(tuple(pieces))

    def on_click(self, event: events.Click) -> None:
        at = 1
        for number, name in enumerate(PANES, 1):
            at += len(f" {number} {name} ")
            if event.x < at:
                self.post_message(self.Chosen(name))
                return


class Notice(LineWidget, can_focus=False):
    """One line that is hidden while it has no text."""

    DEFAULT_CSS = "Notice { height: 1; display: none; }"
    _line = Line()

    def show(self, role: str, text: str) -> None:
        """Show a text in this role; hide the line for an empty one."""
        self._line = Line(((" " + clean(text), role),))
        if self.display != bool(text):
            self.display = bool(text)
        self.refresh_lines()

    def draw(self, y: int, width: int) -> Line:
        return self._line


#: This many keys of the focused pane come before those of its screen, the others where there is room left.
FIRST = 3
#: Actions that are shown last, and always: help, and the key to leave.
LAST = ("back", "leave", "help")
GAP = 2


class KeyHint(NamedTuple):
    """A key and what it does. `last`: it is at the end, and always shown."""

    key: str
    shown: str
    title: str
    last: bool

    @property
    def width(self) -> int:
        return cell_len(self.shown) + 1 + cell_len(self.title) + GAP


def fit_hints(pane: Sequence[KeyHint], screen: Sequence[KeyHint], width: int) -> list[KeyHint]:
    """Returns the hints that fit into this width, in the order in which they are shown."""
    every = [*pane, *screen]
    kept = {hint for hint in every if hint.last}
    room = width - 1 - sum(hint.width for hint in every if hint.last)
    for hint in (*pane[:FIRST], *screen, *pane[FIRST:]):
        if hint not in kept and hint.width <= room:
            kept.add(hint)
            room -= hint.width
    return sorted((hint for hint in every if hint in kept), key=lambda hint: hint.last)


class Footer(LineWidget, can_focus=False):
    """The bottom line: the keys that work now, as many as fit."""

    DEFAULT_CSS = "Footer { dock: bottom; height: 1; background: $panel; }"

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        self.refresh_lines()

    def _hints(self) -> list[KeyHint]:
        pane: dict[str, KeyHint] = {}
        screen: dict[str, KeyHint] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and active.enabled:
                group = screen if active.node in (self.screen, self.app) else pane
                last = binding.action.rpartition(".")[2] in LAST
                shown = clean(self.app.get_key_display(binding))
                group.setdefault(binding.action, KeyHint(binding.key, shown, clean(binding.description), last))
        return fit_hints(list(pane.values()), list(screen.values()), self.size.width)

    def draw(self, y: int, width: int) -> Line:
        pieces: list[Piece] = [(" ", "text")]
        for hint in self._hints():
            pieces += [(hint.shown, "accent"), (f" {hint.title}" + " " * GAP, "text")]
        return Line(tuple(pieces))

    def on_click(self, event: events.Click) -> None:
        at = 1
        for hint in self._hints():
            at += hint.width
            if event.x < at - GAP:
                self.app.simulate_key(hint.key)
                return

"""The bottom line: the keys that work now, as many as fit. Help and the key to leave are always shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from agentdeck.console.state_style import role_styles
from agentdeck.terminal_text import clean

#: This many keys of the focused pane come before those of its screen, the others where there is room left.
FIRST = 3
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
    room = width - 1 - sum(hint.width for hint in every if hint.last)
    kept = {hint for hint in every if hint.last}
    for hint in (*pane[:FIRST], *screen, *pane[FIRST:]):
        if hint not in kept and hint.width <= room:
            kept.add(hint)
            room -= hint.width
    return sorted((hint for hint in every if hint in kept), key=lambda hint: hint.last)


class Footer(Widget):
    DEFAULT_CSS = "Footer { dock: bottom; height: 1; background: $panel; }"

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        self.refresh()

    def _hints(self) -> list[KeyHint]:
        pane: dict[str, KeyHint] = {}
        screen: dict[str, KeyHint] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and active.enabled:
                own = active.node not in (self.screen, self.app)
                last = binding.action.rpartition(".")[2] in LAST
                shown = clean(self.app.get_key_display(binding))
                group = pane if own else screen
                group.setdefault(binding.action, KeyHint(binding.key, shown, clean(binding.description), last))
        return fit_hints(list(pane.values()), list(screen.values()), self.size.width)

    def render_line(self, y: int) -> Strip:
        styles, background = role_styles(self.app), self.rich_style
        segments = [Segment(" ", background)]
        for hint in self._hints():
            segments.append(Segment(hint.shown, background + styles["accent"]))
            segments.append(Segment(f" {hint.title}" + " " * GAP, background + styles["text"]))
        return Strip(segments).adjust_cell_length(self.size.width, background)

    def on_click(self, event: events.Click) -> None:
        at = 1
        for hint in self._hints():
            at += hint.width
            if event.x < at - GAP:
                self.app.simulate_key(hint.key)
                return

"""Two single lines of the run screen: the tabs of its panes, and a notice."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from agentdeck.console.pane import PaneName
from agentdeck.console.state_style import role_styles
from agentdeck.terminal_text import clean


class Tabs(Widget):
    """The panes by number: the active one highlighted, the displayed ones brighter. At the right, what a key acts
    on. The numbers are left out while digits are typed into a field."""

    DEFAULT_CSS = "Tabs { height: 1; }"

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, name: PaneName) -> None:
            super().__init__()
            self.name = name

    def __init__(self, names: Sequence[PaneName]) -> None:
        super().__init__()
        self._names = tuple(names)
        self._main = ""
        self._on: frozenset[str] = frozenset()
        self._target = ""
        self._numbers = True

    def set_panes(self, main: str, on: Collection[str] | None) -> None:
        """Show which pane is active, and which ones are displayed (None: as before)."""
        shown = self._on if on is None else frozenset(on)
        if (main, shown) != (self._main, self._on):
            self._main, self._on = main, shown
            self.refresh()

    def set_breadcrumb(self, target: str, *, numbers: bool = True) -> None:
        """Show what a key acts on, and whether number keys switch panes now."""
        if (target, numbers) != (self._target, self._numbers):
            self._target, self._numbers = clean(target), numbers
            self.refresh()

    def render_line(self, y: int) -> Strip:
        styles, background = role_styles(self.app), self.rich_style
        segments = [Segment(" ", background)]
        for number, name in enumerate(self._names, 1):
            style = styles.cursor if name == self._main else styles["text" if name in self._on else "dim"]
            segments.append(Segment(f" {number if self._numbers else ' '} {name} ", background + style))
        room = self.size.width - sum(segment.cell_length for segment in segments) - 2
        if self._target and room > 3:
            shown = self._target
            if cell_len(shown) > room:
                shown = set_cell_size(shown, room - 1) + "…"
            segments.append(Segment(" " * (room - cell_len(shown) + 1), background))
            segments.append(Segment(shown, background + styles["accent"]))
        return Strip(segments).adjust_cell_length(self.size.width, background)

    def on_click(self, event: events.Click) -> None:
        at = 1
        for number, name in enumerate(self._names, 1):
            at += len(f" {number} {name} ")
            if event.x < at:
                self.post_message(self.Chosen(name))
                return


class Notice(Widget):
    """One line that is hidden while it has no text."""

    DEFAULT_CSS = "Notice { height: 1; display: none; }"

    def __init__(self) -> None:
        super().__init__()
        self._told = ("", "")

    def show(self, role: str, text: str) -> None:
        """Show a text in this role; hide the line for an empty one."""
        if (role, text) != self._told:
            self._told = (role, clean(text))
            if self.display != bool(text):
                self.display = bool(text)
            self.refresh()

    def render_line(self, y: int) -> Strip:
        role, text = self._told
        background = self.rich_style
        return Strip([Segment(" " + text, background + role_styles(self.app)[role])]).adjust_cell_length(
            self.size.width, background
        )

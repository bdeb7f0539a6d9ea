"""A question that is answered with a line of text."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from agentdeck.console.entry import Entry
from agentdeck.core.clean import clean


class Ask(ModalScreen[str]):
    """Dismissed with what was typed; with nothing ("") when it was left. `touches` tells what it will do."""

    CSS = """
    Ask { align: center middle; }
    Ask > Vertical { width: 76; max-width: 94%; height: auto; border: round $primary; background: $surface;
        padding: 1 2; border-title-color: $primary; }
    Ask Static { width: 100%; color: $text-muted; margin-bottom: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss('')", "Leave")]

    def __init__(self, title: str, touches: str, value: str = "", placeholder: str = "") -> None:
        super().__init__()
        self._title, self._touches = title, touches
        self._value, self._placeholder = value, placeholder

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = clean(self._title)
            yield Static(clean(self._touches, lines=True), markup=False)
            yield Entry(self._value, placeholder=self._placeholder, compact=True)

    @on(Input.Submitted)
    def _done(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self.dismiss(event.value.strip())

"""A question that is answered with a line of text."""

from __future__ import annotations

from collections.abc import Callable

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from agentdeck.console.actions import bindings
from agentdeck.console.text_entry import Entry
from agentdeck.terminal_text import clean


class Ask(ModalScreen[str]):
    """Dismissed with what was typed; with nothing ("") when it was left. `touches` tells what it will do.

    `fault` says why a text cannot be taken, empty where it can: the question then stays, with the text in it and
    the reason below. `refused` is why `value` was not taken before."""

    CSS = """
    Ask { align: center middle; }
    Ask > Vertical { width: 76; max-width: 94%; height: auto; border: round $primary; background: $surface;
        padding: 1 2; border-title-color: $primary; }
    Ask Static { width: 100%; color: $text-muted; margin-bottom: 1; }
    Ask #fault { color: $error; text-style: bold; margin: 1 0 0 0; display: none; }
    """
    BINDINGS = bindings("ask")

    def __init__(
        self,
        title: str,
        touches: str,
        value: str = "",
        placeholder: str = "",
        fault: Callable[[str], str] = lambda text: "",
        refused: str = "",
    ) -> None:
        super().__init__()
        self._fault, self._refused = fault, refused
        self._title, self._touches = title, touches
        self._value, self._placeholder = value, placeholder

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = clean(self._title)
            yield Static(clean(self._touches, lines=True), markup=False)
            yield Entry(self._value, placeholder=self._placeholder, compact=True)
            yield Static(id="fault", markup=False)

    def on_mount(self) -> None:
        self._say(self._refused)

    def _say(self, fault: str) -> None:
        told = self.query_one("#fault", Static)
        told.update("✗ " + clean(fault))
        told.display = bool(fault)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        if event.value != self._value:
            self._say("")

    @on(Input.Submitted)
    def _done(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        fault = self._fault(text) if text else ""
        self._say(fault)
        if text and not fault:
            self.dismiss(text)

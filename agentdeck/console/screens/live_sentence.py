"""One sentence on something that goes on, kept up to date until it is closed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from agentdeck.console.actions import bindings
from agentdeck.terminal_text import clean

AGAIN = 0.5


class Sentence(ModalScreen[bool]):
    """`say` returns the current sentence. Dismissed with True where the operator wants the whole story."""

    CSS = """
    Sentence { align: center middle; }
    Sentence > Vertical { width: auto; min-width: 40; max-width: 90%; height: auto; border: round $primary;
        background: $surface; padding: 1 2; border-title-color: $primary; border-subtitle-color: $text-muted; }
    Sentence Static { width: auto; max-width: 100%; }
    """
    BINDINGS = bindings("why")

    def __init__(self, title: str, say: Callable[[], Awaitable[str]]) -> None:
        super().__init__()
        self._title, self._say = title, say
        self._reading = False
        self.text = Static(markup=False)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = clean(self._title)
            box.border_subtitle = "enter: the whole story"
            yield self.text

    def on_mount(self) -> None:
        self.refresh_text()
        self.set_interval(AGAIN, self.refresh_text)

    def refresh_text(self) -> None:
        if not self._reading:
            self._reading = True
            self.run_worker(self._show(), name="sentence")

    async def _show(self) -> None:
        self.text.update(clean(await self._say()))
        self._reading = False

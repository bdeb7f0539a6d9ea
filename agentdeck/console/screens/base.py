"""What every screen has: it knows its size, and says so when it is too small to be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual import events
from textual.screen import Screen
from textual.widgets import Static

if TYPE_CHECKING:
    from agentdeck.console.app import DeckApp

LEAST = (60, 16)


class Shown(Screen[None]):
    """A screen of the console. Classes tell how much room there is: `small` (below 60x16: nothing but a
    notice), `narrow` (one pane at a time), `middle`, or `wide`."""

    DEFAULT_CSS = """
    Shown { layers: base notice; }
    Shown > #too-small { display: none; layer: notice; }
    Shown.small > * { display: none; }
    Shown.small > #too-small {
        display: block; width: 100%; height: 100%; content-align: center middle; text-align: center;
    }
    """

    def on_mount(self) -> None:
        self.mount(Static(id="too-small", markup=False))

    @property
    def deck(self) -> DeckApp:
        return cast("DeckApp", self.app)

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size
        small = width < LEAST[0] or height < LEAST[1]
        wide = width >= 132 and height >= 34
        middle = not wide and width >= 96 and height >= 26
        for name, on in (("small", small), ("wide", wide), ("middle", middle), ("narrow", not (wide or middle))):
            if self.has_class(name) != on:
                self.set_class(on, name)
        if small:
            told = f"{width}x{height} is too small for agentdeck\nit needs {LEAST[0]}x{LEAST[1]}; ctrl+q quits"
            self.query_one("#too-small", Static).update(told)

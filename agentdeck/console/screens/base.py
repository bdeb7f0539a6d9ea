"""The base of every screen: it classifies its size, and shows a notice where it is too small to be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual import events
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from agentdeck.console.actions import bindings

if TYPE_CHECKING:
    from agentdeck.console.app_interface import ConsoleApp

LEAST = (60, 16)


class ScrollPage(VerticalScroll, inherit_bindings=False):
    """A vertical scroll whose keys are actions of the registry."""

    BINDINGS = bindings("page")


class SizedScreen(Screen[None]):
    """A screen of the console. It has one of the classes `narrow` (one pane at a time), `middle` and `wide`, and
    the class `small` below 60x16, where it shows nothing but a notice."""

    DEFAULT_CSS = """
    SizedScreen { layers: base notice; }
    SizedScreen > #too-small { display: none; layer: notice; }
    SizedScreen.small > * { display: none; }
    SizedScreen.small > #too-small {
        display: block; width: 100%; height: 100%; content-align: center middle; text-align: center;
    }
    """

    def on_mount(self) -> None:
        self.mount(Static(id="too-small", markup=False))

    @property
    def console_app(self) -> ConsoleApp:
        """The app, by the interface that screens use."""
        return cast("ConsoleApp", self.app)

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size
        small = width < LEAST[0] or height < LEAST[1]
        wide = width >= 132 and height >= 34
        middle = not wide and width >= 96 and height >= 26
        for name, on in (("small", small), ("wide", wide), ("middle", middle), ("narrow", not (wide or middle))):
            if self.has_class(name) != on:
                self.set_class(on, name)
        if small:
            text = f"{width}x{height} is too small for agentdeck\nit needs {LEAST[0]}x{LEAST[1]}; ctrl+q quits"
            self.query_one("#too-small", Static).update(text)

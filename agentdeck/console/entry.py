"""A line to type into, whatever is in it."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Input

from agentdeck.core.clean import dotted


class Entry(Input):
    """An Input that shows a dot for each character that a terminal would obey; its value keeps them."""

    @property
    def _value(self) -> Text:
        shown = dotted(self.value)
        text = Text(shown, no_wrap=True, overflow="ignore", end="")
        if self.highlighter is not None:
            text = self.highlighter(text)
        return text

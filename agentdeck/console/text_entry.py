"""A text field that shows control characters."""

from __future__ import annotations

from rich.text import Text
from textual import events
from textual.widget import Widget
from textual.widgets import Input

from agentdeck.terminal_text import dotted


class TextEntry(Input):
    """An Input that shows a dot for each character that a terminal would obey; its value keeps them."""

    def _on_paste(self, event: events.Paste) -> None:
        """Textual keeps the first line of what is pasted and says nothing: what has more lines is refused."""
        lines = event.text.strip("\r\n").splitlines()
        if len(lines) < 2:
            super()._on_paste(events.Paste("".join(lines)))
        else:
            refuse_lines(self, len(lines))
        event.stop()
        event.prevent_default()

    @property
    def _value(self) -> Text:
        shown = dotted(self.value)
        text = Text(shown, no_wrap=True, overflow="ignore", end="")
        if self.highlighter is not None:
            text = self.highlighter(text)
        return text


def refuse_lines(widget: Widget, count: int) -> None:
    """Say that a text of so many lines was not pasted."""
    told = f"not pasted: it has {count:,} lines, and this field holds one"
    widget.notify(told, severity="warning", markup=False)

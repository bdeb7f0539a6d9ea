"""One log line, whole: JSON as an outline, text wrapped."""

from __future__ import annotations

import json

from textual.app import ComposeResult
from textual.screen import ModalScreen

from agentdeck.console.actions import bindings
from agentdeck.console.log.line_style import clock
from agentdeck.console.log.lines import Line
from agentdeck.console.outline import Item, Sheet, outline, prose


class WholeLine(ModalScreen[None]):
    DEFAULT_CSS = """
    WholeLine { align: center middle; }
    WholeLine > Sheet {
        width: 90%; max-width: 140; height: 80%; border: round $primary; padding: 0 1; background: $surface;
    }
    """
    BINDINGS = bindings("line")

    def __init__(self, line: Line) -> None:
        super().__init__()
        self.line = line

    def compose(self) -> ComposeResult:
        line = self.line
        place = "/".join(part for part in (line.task, line.step) if part)
        about = f"{clock(int(line.at))} · {place} · attempt {line.attempt} · {line.level}"
        try:
            value = json.loads(line.text) if line.text[:1] in ("{", "[") else line.text
        except (ValueError, RecursionError):
            value = line.text
        items = list(prose(value)) if isinstance(value, str) else outline(value)
        yield Sheet([Item(about, "dim"), Item(), *items])

"""Log lines, and an app that shows a pane of them."""

from __future__ import annotations

from collections.abc import Iterable

from textual.app import App, ComposeResult
from textual.widget import Widget

from agentdeck.store.reader import LogLine


def row(
    number: int, text: str, *, step: str = "extract", task: str = "1", level: str = "info", attempt: int = 1
) -> LogLine:
    return LogLine(number, 1000.0 + number, task, step, attempt, level, text)


def rows(texts: Iterable[str], start: int = 1, step: str = "extract") -> list[LogLine]:
    return [row(number, text, step=step) for number, text in enumerate(texts, start)]


class Shown(App[None]):
    """One widget, and nothing else."""

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self.widget = widget

    def compose(self) -> ComposeResult:
        yield self.widget

"""The panes of the run screen, by name: where each is to be found. One that is not there yet is stood in for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from rich.text import Text
from textual.widget import Widget

from agentdeck.console.look import GLYPHS, look_of
from agentdeck.console.pane import Focus
from agentdeck.core.clean import clean
from agentdeck.core.view import View

#: name: (module, class)
PARTS: dict[str, tuple[str, str]] = {
    "header": ("agentdeck.console.panes.header", "Header"),
    "graph": ("agentdeck.console.graph.pane", "GraphPane"),
    "agents": ("agentdeck.console.panes.agents", "AgentsPane"),
    "tasks": ("agentdeck.console.panes.tasks", "TasksPane"),
    "timeline": ("agentdeck.console.panes.timeline", "TimelinePane"),
    "limits": ("agentdeck.console.panes.limits", "LimitsPane"),
    "log": ("agentdeck.console.log.tiled", "LogTiles"),
    "lines": ("agentdeck.console.log.lines", "LineStore"),
}


def part(name: str, *arguments: object) -> Any:
    """The part of this name, made with these arguments."""
    module, kind = PARTS[name]
    try:
        made: Callable[..., Any] = getattr(import_module(module), kind)
    except ModuleNotFoundError:
        return [] if name == "lines" else Standin(name, arguments)
    return made(*arguments)


class Standin(Widget, can_focus=True):
    """The least that a pane can show."""

    def __init__(self, name: str, arguments: tuple[object, ...]) -> None:
        super().__init__(name=name)
        self._lines = arguments[0] if arguments and name == "log" else None
        self._text = Text()
        self.can_focus = name != "header"
        if name == "header":
            self.styles.height = 1

    def tick(self, view: View, now: float) -> None:
        self._text = self._told(view)
        self.refresh()

    def look_at(self, focus: Focus) -> None:
        """It shows everything."""

    def _told(self, view: View) -> Text:
        look, text = look_of(self.app), Text(no_wrap=True, overflow="ellipsis")
        if self.name == "header":
            tasks = view.tasks
            text.append(f" {GLYPHS.get(view.state, ' ')} {view.state} ", look[view.state])
            text.append(clean(f"{view.workflow} {view.run}  {view.seconds:.0f} s  "), look["text"])
            text.append(
                f"{tasks.done:,}/{tasks.total or tasks.opened:,} tasks, {tasks.failed:,} failed", look["text"]
            )
        elif self.name in ("graph", "agents"):
            for name, tally in view.agents.items():
                text.append(f" {clean(name):<16}", look["text"])
                for state, number in tally.steps.items():
                    if number:
                        text.append(f" {GLYPHS[state]}{number:,}", look[state])
                text.append("\n")
        elif self.name == "timeline":
            for moment in list(view.timeline)[-self.size.height :]:
                text.append(
                    clean(f" {moment.kind} {moment.task} {moment.step} {moment.text}") + "\n", look["text"]
                )
        elif self.name == "tasks":
            for row in list(view.recent)[-self.size.height :]:
                text.append(f" {GLYPHS[row.state]} {clean(row.task)}\n", look[row.state])
        elif self.name == "limits":
            text.append("  ".join(f" {name} {value}" for name, value in view.limits.items()), look["text"])
        elif isinstance(self._lines, list):
            for line in self._lines[-self.size.height :]:
                text.append(clean(f" {line.step:<12} {line.text}") + "\n", look["text"])
        return text

    def render(self) -> Text:
        return self._text

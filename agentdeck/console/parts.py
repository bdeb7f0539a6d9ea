"""The panes of the run screen, by name, each imported when it is first made."""

from __future__ import annotations

from importlib import import_module
from typing import Any

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
    return getattr(import_module(module), kind)(*arguments)

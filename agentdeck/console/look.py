"""How states and other roles look: glyph, word and colour together, for everything drawn by hand.

Colours come from the theme's variables, so a pane asks for a role and never names a colour. Under a theme
without colours (NO_COLOR) what is left are glyph, word, bold, dim and reverse, and these alone suffice.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from textual.app import App

#: One character each, one cell wide in every terminal.
GLYPHS: Mapping[str, str] = {
    "waiting": "·",
    "ready": "○",
    "running": "●",
    "done": "✓",
    "failed": "✗",
    "skipped": "↷",
    "cancelled": "⊘",
    "paused": "‖",
    "interrupted": "!",
    "drained": "!",
}

#: role: (theme variable of the foreground, what is added for those who see no colour)
ROLES: Mapping[str, tuple[str, str]] = {
    "waiting": ("text-muted", "dim"),
    "ready": ("warning", ""),
    "running": ("accent", "bold"),
    "done": ("success", ""),
    "failed": ("error", "bold"),
    "skipped": ("text-muted", "dim"),
    "cancelled": ("text-muted", "dim"),
    "paused": ("warning", "bold"),
    "interrupted": ("error", "bold"),
    "drained": ("warning", ""),
    "text": ("foreground", ""),
    "dim": ("text-muted", "dim"),
    "title": ("primary", "bold"),
    "accent": ("accent", "bold"),
    "good": ("success", ""),
    "warn": ("warning", ""),
    "bad": ("error", ""),
    "line": ("panel-lighten-2", "dim"),
    "critical": ("text-secondary", "bold"),
    "needs": ("text-muted", "dim"),
    "pool": ("primary", ""),
    "requests": ("warning", ""),
    "tokens": ("warning", ""),
    "concurrent": ("warning", ""),
    "budget": ("error", ""),
    "backoff": ("text-secondary", ""),
    "cooldown": ("text-secondary", ""),
    "approval": ("accent", ""),
}


class Look:
    """The roles under one theme. Made anew when the theme changes; `look_of(app)` keeps the current one."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.styles = {
            role: Style.parse(f"{extra} {_colour(variables.get(name, ''))}".strip() or "none")
            for role, (name, extra) in ROLES.items()
        }
        ground = _colour(variables.get("background", ""))
        block = _colour(variables.get("block-cursor-background", "")) or _colour(variables.get("primary", ""))
        front = _colour(variables.get("block-cursor-foreground", "")) or ground
        self.cursor = Style.parse(f"{front} on {block}") if front and block else Style(reverse=True)
        surface = _colour(variables.get("panel", "")) or _colour(variables.get("surface", ""))
        self.raised = Style.parse(f"on {surface}") if surface else Style(bold=True)

    def __getitem__(self, role: str) -> Style:
        return self.styles.get(role) or self.styles["text"]


def _colour(value: str) -> str:
    """A theme variable as rich understands it; empty where it is no plain colour (`auto 87%`, `ansi_…` kept)."""
    value = value.strip()
    if value.startswith("ansi_"):
        name = value.removeprefix("ansi_").partition(" ")[0]
        return "default" if name == "default" else name
    return value[:7] if value.startswith("#") else ""


_LOOKS: dict[str, Look] = {}


def look_of(app: App[object]) -> Look:
    """The look of the app's current theme."""
    variables = app.theme_variables
    key = f"{app.theme}:{variables.get('background')}:{variables.get('accent')}"
    if key not in _LOOKS:
        _LOOKS[key] = Look(variables)
    return _LOOKS[key]

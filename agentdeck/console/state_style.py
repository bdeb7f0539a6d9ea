"""The glyphs and styles of states and other roles, for everything that is drawn line by line.

Colours come from the theme's variables, so a pane asks for a role and never names a colour. Under a theme
without colours (NO_COLOR) what is left are glyph, word, bold, dim and reverse, and these alone suffice.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from textual.app import App
from textual.color import Color

#: One character each, one cell wide in every terminal.
GLYPHS: Mapping[str, str] = {
    "waiting": "·",
    "ready": "○",
    "running": "●",
    "asking": "?",
    "done": "✓",
    "rejected": "¬",
    "failed": "✗",
    "skipped": "↷",
    "cancelled": "⊘",
    "paused": "‖",
    "interrupted": "!",
    "drained": "!",
}

#: (theme variable of the foreground, what is added to it): the roles that look like this. `dim` is left out where
#: the theme has a colour of its own for it: dimming a muted colour again makes it unreadable.
LOOKS: Mapping[tuple[str, str], str] = {
    ("text-muted", "dim"): "waiting skipped cancelled needs starting dim",
    ("line", "dim"): "line",
    ("foreground", ""): "text",
    ("primary", ""): "pool max_parallel resources place",
    ("primary", "bold"): "title",
    ("accent", ""): "approval",
    ("accent", "bold"): "running accent",
    ("text-secondary", ""): "held backoff cooldown",
    ("text-secondary", "bold"): "critical",
    ("success", ""): "done good",
    ("warning", ""): "ready drained warn requests tokens pace concurrent",
    ("warning", "bold"): "paused",
    ("error", ""): "bad budget",
    ("error", "bold"): "failed interrupted",
    ("asking", "bold"): "asking",
    ("rejected", "bold"): "rejected",
}
ROLES = {role: look for look, roles in LOOKS.items() for role in roles.split()}


class RoleStyles:
    """The styles of all roles under one theme, and of the backgrounds `cursor` and `raised`. `role_styles(app)`
    caches those of the current theme."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        variables = {"line": variables.get("panel-lighten-2", ""), **variables}
        if variables.get("accent") == variables.get("success"):  # running and done never look alike
            variables["accent"] = variables.get("primary", "")
        _keep_apart(variables)
        self.styles = {role: _style(name, extra, variables) for role, (name, extra) in ROLES.items()}
        block = _colour(variables, "block-cursor-background") or _colour(variables, "primary")
        front = variables.get("block-cursor-foreground", "")
        if block.startswith("#") and not front.startswith("#"):
            front = Color.parse(block).get_contrast_text(1.0).hex6.lower()
        # The terminal's own colours are unknown: reversed, they are as readable as they are.
        coloured = front.startswith("#") and block.startswith("#")
        self.cursor = Style.parse(f"{front} on {block}") if coloured else Style(reverse=True)
        surface = _colour(variables, "panel")
        self.raised = Style.parse(f"on {surface}") if surface.startswith("#") else Style(bold=True)
        self.styles |= {"cursor": self.cursor, "raised": self.raised}

    def __getitem__(self, role: str) -> Style:
        return self.styles.get(role) or self.styles["text"]


def _keep_apart(variables: dict[str, str]) -> None:
    """Give `asking` and `rejected` colours that no other state has, where the theme has such colours."""
    taken = {_colour(variables, name) for name in ("accent", "success", "error", "text-muted")}
    for name in ("asking", "rejected"):
        for choice in ("primary", "secondary", "text-secondary", "warning", "foreground"):
            colour = _colour(variables, choice)
            if colour not in taken:
                break
        taken.add(colour)
        variables[name] = colour


def _style(name: str, extra: str, variables: Mapping[str, str]) -> Style:
    colour = _colour(variables, name)
    if extra == "dim" and colour.startswith("#"):
        extra = ""
    return Style.parse(f"{extra} {colour}".strip() or "none")


def _colour(variables: Mapping[str, str], name: str) -> str:
    """A theme variable as rich understands it: `#rrggbb`, a colour of the terminal, or empty. A share of the
    text's colour (`auto 60%`) is mixed from foreground and background."""
    value = variables.get(name, "").strip()
    if value.startswith("ansi_"):
        return value.removeprefix("ansi_").partition(" ")[0]
    if value.startswith("auto") and variables.get("foreground", "").startswith("#"):
        share = float(value.removeprefix("auto").strip().rstrip("%") or 100) / 100
        background, front = variables.get("background", "#000000"), variables["foreground"]
        return Color.parse(background).blend(Color.parse(front), share).hex6.lower()
    return value[:7] if value.startswith("#") else ""


_current: tuple[Mapping[str, str], RoleStyles] | None = None


def role_styles(app: App[object]) -> RoleStyles:
    """The styles under the app's current theme. Textual makes new variables for each change of theme."""
    global _current
    variables = app.theme_variables
    if _current is None or _current[0] is not variables:
        _current = variables, RoleStyles(variables)
    return _current[1]

"""The styles of the canvas by role, under the current theme and on the pane's background."""

from __future__ import annotations

from collections.abc import Iterable

from rich.color import Color, blend_rgb
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from agentdeck.console.graph.canvas import Span
from agentdeck.console.state_style import RoleStyles

#: The roles that only the canvas has, and whose styles they take.
_ROLES = {"wire": "needs", "critical": "title", "lit": "done", "selected": "text", "cursor-line": "accent"}


class CanvasStyles:
    """Styles by role, each computed once. `a/b` is a half cell of state `a` above one of state `b`."""

    def __init__(self, styles: RoleStyles, background: Style) -> None:
        self.styles = styles
        self.background = background
        self._cache: dict[str, Style] = {}

    def strip(self, spans: Iterable[Span]) -> Strip:
        cache = self._cache
        segments = []
        for text, role in spans:
            style = cache.get(role)
            if style is None:
                style = cache[role] = self.background + self._style(role)
            segments.append(Segment(text, style))
        return Strip(segments)

    def _style(self, role: str) -> Style:
        above, half, below = role.partition("/")
        if half:
            paper = Style(bgcolor=self._state(below).color) if below else Style()
            return Style(color=self._state(above).color) + paper
        return self.styles.cursor if role == "cursor" else self.styles[_ROLES.get(role, role)]

    def _state(self, state: str) -> Style:
        """The style of a state. Waiting is drawn faintly, so that the rest of a map is visible against it."""
        style = self.styles[state]
        back = self.background.bgcolor
        if state != "waiting" or style.color is None:
            return style
        if not (style.color.triplet and back and back.triplet):
            return Style(color="bright_black")
        return Style(color=Color.from_triplet(blend_rgb(back.triplet, style.color.triplet, 0.35)))


def colourful(styles: RoleStyles) -> bool:
    """Whether states can be distinguished by colour alone."""
    inks = {styles[state].color for state in ("done", "failed", "running")}
    return len(inks) == 3 and None not in inks

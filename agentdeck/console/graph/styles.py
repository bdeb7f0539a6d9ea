"""From roles to styles, under the theme of the moment and on the pane's own background."""

from __future__ import annotations

from collections.abc import Iterable

from rich.color import Color, blend_rgb
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from agentdeck.console.graph.canvas import Span
from agentdeck.console.state_style import Look

#: What the canvas has of its own, in the words of the look.
_ROLES = {"wire": "needs", "critical": "title", "lit": "done", "chosen": "text", "cursor-line": "accent"}


class Ink:
    """Styles by role, each worked out once. `a/b` is a half cell of state `a` above one of state `b`."""

    def __init__(self, look: Look, ground: Style) -> None:
        self.look = look
        self.ground = ground
        self._styles: dict[str, Style] = {}

    def strip(self, spans: Iterable[Span]) -> Strip:
        styles = self._styles
        segments = []
        for text, role in spans:
            style = styles.get(role)
            if style is None:
                style = styles[role] = self.ground + self._style(role)
            segments.append(Segment(text, style))
        return Strip(segments)

    def _style(self, role: str) -> Style:
        above, half, below = role.partition("/")
        if half:
            paper = Style(bgcolor=self._state(below).color) if below else Style()
            return Style(color=self._state(above).color) + paper
        return self.look.cursor if role == "cursor" else self.look[_ROLES.get(role, role)]

    def _state(self, state: str) -> Style:
        """What waits recedes: it is the ground on which the rest of a map stands out."""
        style = self.look[state]
        back = self.ground.bgcolor
        if state != "waiting" or style.color is None:
            return style
        if not (style.color.triplet and back and back.triplet):
            return Style(color="bright_black")
        return Style(color=Color.from_triplet(blend_rgb(back.triplet, style.color.triplet, 0.35)))


def colourful(look: Look) -> bool:
    """Whether states can be told by colour alone."""
    inks = {look[state].color for state in ("done", "failed", "running")}
    return len(inks) == 3 and None not in inks

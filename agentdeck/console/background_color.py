"""The background of a widget, worked out once for all lines of one paint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.style import Style

if TYPE_CHECKING:
    from textual.geometry import Region
    from textual.strip import Strip
    from textual.widget import Widget as _Widget
else:
    _Widget = object


class Grounded(_Widget):
    """Before another base. `ground` is `rich_style`, which takes as long as drawing a line."""

    _ground: Style | None = None

    @property
    def ground(self) -> Style:
        return self._ground or self.rich_style

    def render_lines(self, crop: Region) -> list[Strip]:
        self._ground = self.rich_style
        try:
            return super().render_lines(crop)
        finally:
            self._ground = None

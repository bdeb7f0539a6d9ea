"""The bar under a replay: its position and speed, and marks of what happened when."""

from __future__ import annotations

import re

from textual import events

from agentdeck.console.actions import bindings
from agentdeck.console.line_widget import Line, LineWidget, Piece, fit, joined
from agentdeck.insight.formatting import seconds
from agentdeck.insight.replay import Playback

#: What a mark is drawn with; where several fall into one cell, the first of these is seen.
MARKS = {
    "failed": ("✗", "failed"),
    "paused": ("‖", "paused"),
    "limit": ("⇅", "accent"),
    "resumed": ("↻", "warn"),
    "reopened": ("↻", "warn"),
    "answered": ("?", "accent"),
    "released": ("»", "accent"),
    "retry": ("·", "warn"),
}
#: Characters of a place to go to (seconds, minutes, a share, a number of an event), and those it begins with.
PLACE_BEGINS = "0123456789#"
PLACE = PLACE_BEGINS + ".%smh:"
_FIRST = {kind: rank for rank, kind in enumerate(MARKS)}


class PlayBar(LineWidget):
    """Plays, stops, steps and seeks a Playback. The screen calls `pass_time` in its frame."""

    DEFAULT_CSS = "PlayBar { height: 2; }"
    BINDINGS = bindings("playbar")

    def __init__(self, playback: Playback) -> None:
        super().__init__()
        self.playback = playback
        self.typed = ""
        self.typing = False
        self._pressed = ""
        self._dragging = False
        self._marks: tuple[int, dict[int, str]] = (-1, {})

    def pass_time(self, elapsed: float, budget: float) -> None:
        """Advance the playback by so many seconds, and fold events for at most `budget`."""
        self.playback.advance(elapsed)
        self.playback.fold(budget)
        self.refresh_lines()

    def draw(self, y: int, width: int) -> Line:
        return self._words(width) if y == 0 else self._bar(width)

    def _words(self, width: int) -> Line:
        back = self.playback
        state = ("▶ playing", "running") if back.playing else ("‖ stopped", "paused")
        if not back.settled:
            state = ("… seeking", "warn")
        if self.typing:
            where: Piece = (f"go to {self.typed}▏ (30, 2m, 50%, #1200)", "accent")
        else:
            at, whole = seconds(back.now - back.begin), seconds(back.end - back.begin)
            where = (f"{at} of {whole}   event {back.target:,} of {len(back.events):,}", "text")
        speed = f"{back.speed:g}×"
        keys = "space play  ←→ event  <> mark  +- speed  or type a time to jump to"
        pieces = [(" replay ", "title"), state, (f"  {speed:<5}", "accent"), where]
        used = sum(len(text) for text, _ in pieces)
        if width - used > len(keys) + 4:
            pieces.append((keys.rjust(width - used - 1), "dim"))
        return Line(tuple((fit(text, len(text)), role) for text, role in pieces))

    def _bar(self, width: int) -> Line:
        back = self.playback
        marks = self._placed(width)
        head = self._cell(back.now, width)
        pieces: list[Piece] = []
        for x in range(width):
            if x == head:
                pieces.append(("█" if self.has_focus else "┃", "title"))
            elif x in marks:
                pieces.append(MARKS[marks[x]])
            else:
                pieces.append(("━", "running") if x < head else ("─", "line"))
        return Line(joined(pieces))

    def _placed(self, width: int) -> dict[int, str]:
        """The marks by column."""
        if self._marks[0] != width:
            placed: dict[int, str] = {}
            for mark in self.playback.marks:
                x = self._cell(mark.at, width)
                if x not in placed or _FIRST[mark.kind] < _FIRST[placed[x]]:
                    placed[x] = mark.kind
            self._marks = (width, placed)
        return self._marks[1]

    def _cell(self, at: float, width: int) -> int:
        back = self.playback
        whole = back.end - back.begin
        return min(width - 1, int((at - back.begin) / whole * (width - 1))) if whole > 0 else 0

    def action_play(self) -> None:
        back = self.playback
        if not back.playing and back.at_end:
            back.seek(back.begin)
        back.playing = not back.playing
        self.refresh_lines()

    def action_step(self, by: int) -> None:
        self.playback.step(by)
        self.refresh_lines()

    def action_jump(self, direction: int) -> None:
        self.playback.jump(direction)
        self.refresh_lines()

    def action_speed(self, by: int) -> None:
        self.playback.faster(by)
        self.refresh_lines()

    def action_go(self, share: float) -> None:
        back = self.playback
        back.seek(back.begin + share * (back.end - back.begin))
        self.refresh_lines()

    def action_go_to(self) -> None:
        """Open the field for a place to go to. The key just pressed is its first character if it can be one."""
        self.typing = True
        self.typed = self._pressed if self._pressed in PLACE_BEGINS else ""
        self.refresh_lines()

    def on_key(self, event: events.Key) -> None:
        """Edit the field while it is open."""
        self._pressed = char = event.character or ""
        if not self.typing:
            return
        if char and char in PLACE:
            self.typed += char
        elif event.key == "backspace":
            self.typed = self.typed[:-1]
            self.typing = bool(self.typed)
        elif event.key == "escape":
            self.typing = False
        elif event.key == "enter":
            self.typing = False
            if self.typed:
                self._go_to(self.typed)
        else:
            return
        event.stop()
        event.prevent_default()
        self.refresh_lines()

    def _go_to(self, text: str) -> None:
        back = self.playback
        if found := re.fullmatch(r"#(\d+)", text):
            back.step(int(found[1]) - back.target)
        elif found := re.fullmatch(r"(\d+(?:\.\d+)?)%", text):
            back.seek(back.begin + float(found[1]) / 100 * (back.end - back.begin))
        elif found := re.fullmatch(r"(?:(\d+):)?(\d+):(\d+)", text):
            hours, minutes, rest = (int(part or 0) for part in found.groups())
            back.seek(back.begin + hours * 3600 + minutes * 60 + rest)
        elif found := re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text):
            back.seek(back.begin + float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]])
        else:
            self.notify("write it like 30, 2m, 1:30, 50% or #1200", severity="warning")

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.y == 1:
            self._dragging = True
            self.capture_mouse()
            self._drag(event.x)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragging:
            self._drag(event.x)

    def on_mouse_up(self) -> None:
        self._dragging = False
        self.release_mouse()

    def _drag(self, x: int) -> None:
        self.action_go(min(1.0, max(0.0, x / max(1, self.size.width - 1))))

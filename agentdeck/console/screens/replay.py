"""A replay: the panes of a run on its recorded events, played, stopped, stepped, sought. It changes nothing."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.containers import Container

from agentdeck.console.actions import bindings
from agentdeck.console.log.lines import LineStore
from agentdeck.console.pane import PANES, PaneName
from agentdeck.console.panes.playbar import PlayBar
from agentdeck.console.recording import Recording
from agentdeck.console.run_state import RunState
from agentdeck.console.screens.base import SizedScreen
from agentdeck.console.screens.run_controls import RunControls
from agentdeck.console.status_lines import Footer, Notice
from agentdeck.console.throttle import FRAME
from agentdeck.insight.replay import Playback
from agentdeck.operations.commands import RunCommand
from agentdeck.operations.engine_process import EngineProcess

FOLD = 0.005  # seconds of a frame for folding events
SEEK = 0.03  # the same while a distant moment is sought
MAX_LINES = 20_000  # log lines that are added in one frame
#: The actions of the run screen that a replay has too: those that only change what is visible.
SHARED = (*PANES, "zoom", "back", "up")


class ReplayScreen(SizedScreen):
    """The panes are those of the run screen; what they show is the view of a Playback."""

    scope = "replay"
    BINDINGS = bindings("run", names=SHARED) + bindings("replay")
    DEFAULT_CSS = "ReplayScreen #playbar { height: auto; }"

    def __init__(self, db: Path, run: str) -> None:
        super().__init__()
        self.state = RunState(db, run)
        self.controls = RunControls(self, self.state, self.refuse, self.refuse, self.notify)
        self.panes = self.controls.panes
        self.offers, self.typed = self.controls.offers, self.controls.typed_entries
        self.recording = Recording(db, run)
        self.bar: PlayBar | None = None
        self._frame_at = time.monotonic()
        self._lines_shown = 0

    def compose(self) -> ComposeResult:
        yield self.panes
        yield Notice()
        yield Container(id="playbar")
        yield Footer()

    def on_mount(self) -> None:
        self.recording.start()
        self._set_frame_timer()

    async def on_unmount(self) -> None:
        await self.recording.close()

    def _set_frame_timer(self) -> None:
        self.set_interval(FRAME, self.frame)

    def frame(self) -> None:
        """Let time pass in the replay, and let the panes draw the moment that it has reached."""
        recording, notice, panes = self.recording, self.query_one(Notice), self.panes
        now = time.monotonic()
        elapsed, self._frame_at = min(1.0, now - self._frame_at), now
        if not self.is_active:
            return
        if not recording.ready:
            progress = f"reading {len(recording.events):,} of {recording.known:,} events …"
            notice.show("bad" if recording.fault else "dim", recording.fault or progress)
            return
        bar = self.bar or self._begin()
        playback = bar.playback
        bar.pass_time(elapsed, FOLD if playback.settled else SEEK)
        self.state.view = playback.view
        self._show_lines(playback.now)
        panes.header.reading = None if playback.settled else playback.index / max(1, playback.target)
        for pane in panes.visible_panes():
            if playback.settled or pane is panes.header:
                pane.tick(playback.view, playback.now)
        panes.update_breadcrumb()
        cut = recording.cut
        notice.show("warn" if cut else "", f"the last {cut:,} events are not played" if cut else "")

    def _begin(self) -> PlayBar:
        """Mount the panes and the bar, and play from the first event."""
        recording = self.recording
        assert recording.definition is not None
        playback = Playback(recording.definition, recording.events)
        self.bar = PlayBar(playback)
        self.query_one("#playbar").mount(self.bar)
        self.controls.build(recording.definition)
        self.panes.header.badges = ("replay",)
        playback.playing = True
        self.call_after_refresh(self.bar.focus)
        return self.bar

    def _show_lines(self, at: float) -> None:
        """Give the log the lines that were written by then. Where these are fewer than before, it begins anew."""
        lines = self.recording.lines
        wanted = bisect_right(lines, at, key=lambda line: line.at)
        if wanted < self._lines_shown:
            self.panes.replace_log(LineStore(streams=self.panes.lines.streams))
            self._lines_shown = 0
        if wanted > self._lines_shown:
            end = min(wanted, self._lines_shown + MAX_LINES)
            self.panes.lines.append(lines[self._lines_shown : end])
            self._lines_shown = end

    def refuse(
        self, command: RunCommand | Callable[[], EngineProcess], then: object = None, *, run_over: object = None
    ) -> None:
        """Send no command, start no engine, and say so."""
        self.notify("a replay changes nothing; open the run itself for that", severity="warning")

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.panes.update_display()

    def action_command(self, name: str) -> None:
        self.controls.commands[name]()

    def action_show(self, name: PaneName) -> None:
        self.panes.show(name)

    def action_up(self) -> None:
        if not self.panes.go_up():
            self.dismiss()

    def action_back(self) -> None:
        self.dismiss()

    def action_play(self) -> None:
        if self.bar is not None:
            self.bar.action_play()

    def action_step(self, by: int) -> None:
        if self.bar is not None:
            self.bar.action_step(by)

    def action_jump(self, direction: int) -> None:
        if self.bar is not None:
            self.bar.action_jump(direction)

    def action_bar(self) -> None:
        if self.bar is not None:
            self.set_focus(self.bar)  # at once: the keys pressed next are meant for it

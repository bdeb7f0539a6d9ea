"""A replay: the run screen on a run's recorded events, played, stopped, stepped, sought. It changes nothing."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Container

from agentdeck.console.actions import bindings
from agentdeck.console.footer import Foot
from agentdeck.console.log.lines import LineStore
from agentdeck.console.log.tiles import LogTiles
from agentdeck.console.panes.playbar import PlayBar
from agentdeck.console.recording import Recording
from agentdeck.console.screens.pane_layout import PANES
from agentdeck.console.screens.run import RunScreen
from agentdeck.console.status_lines import Notice, Tabs
from agentdeck.insight.replay import Playback
from agentdeck.operations.actions import of
from agentdeck.operations.engine_process import EngineProcess
from agentdeck.workflow.model import Data

FOLD = 0.005  # seconds of a frame for folding
#: What the run screen can do and a replay cannot.
STEERING = frozenset(
    action.method for action in of("run")
    if action.method not in (*PANES, "zoom", "back", "up")
)  # fmt: skip
SEEK = 0.03  # seconds of a frame for folding, while a place far away is sought


class ReplayScreen(RunScreen):
    """The panes are those of the run screen; what they show is the view of a Playback."""

    scope = "replay"
    BINDINGS = bindings("replay")
    DEFAULT_CSS = "ReplayScreen #playbar { height: auto; }"

    def __init__(self, db: Path, run: str) -> None:
        super().__init__(db, run)
        self.recording = Recording(db, run)
        self.bar: PlayBar | None = None
        self._since = time.monotonic()
        self._told = 0

    def compose(self) -> ComposeResult:
        yield Container(id="header")
        yield Tabs(PANES)
        yield Container(id="stage")
        yield Notice()
        yield Container(id="playbar")
        yield Foot()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A replay changes nothing: what steers a run is not offered."""
        return action not in STEERING

    def begin(self) -> None:
        self.recording.start()

    async def end(self) -> None:
        await self.recording.close()

    def frame(self) -> None:
        """Let time pass in the replay, and let the panes draw where it stands."""
        recording, notice = self.recording, self.query_one(Notice)
        now = time.monotonic()
        elapsed, self._since = min(1.0, now - self._since), now
        if not self.is_active:
            return
        if not recording.ready:
            told = f"reading {len(recording.events):,} of {recording.known:,} events …"
            notice.tell("bad" if recording.fault else "dim", recording.fault or told)
            return
        bar = self.bar or self._begin()
        bar.pass_time(elapsed, FOLD if bar.playback.settled else SEEK)
        self.view = bar.playback.view
        self._follow(bar.playback.now)
        playback = bar.playback
        self.header.reading = None if playback.settled else playback.index / max(1, playback.target)
        for name, pane in self.panes.items():
            if pane.display and pane.size.height and (playback.settled or name == "header"):
                pane.tick(self.view, playback.now)
        self.tell_target()
        cut = recording.cut
        notice.tell("warn" if cut else "", f"the last {cut:,} events are not played" if cut else "")

    def _begin(self) -> PlayBar:
        recording = self.recording
        assert recording.definition is not None
        playback = Playback(recording.definition, recording.events)
        self.bar = PlayBar(playback)
        self.query_one("#playbar").mount(self.bar)
        self.build(recording.definition)
        self.header.badges = ("replay",)
        playback.playing = True
        self.call_after_refresh(self.bar.focus)
        return self.bar

    def _follow(self, at: float) -> None:
        """The log shows what had been said by then. Where that is less than before, it begins anew."""
        lines = self.recording.lines
        wanted = bisect_right(lines, at, key=lambda line: line.at)
        if wanted < self._told:
            self.lines = LineStore(streams=self.lines.streams)
            self._told = 0
            self._renew_log()
        if wanted > self._told:
            self.lines.append(lines[self._told : min(wanted, self._told + 20_000)])
            self._told = min(wanted, self._told + 20_000)

    def _renew_log(self) -> None:
        """Another store of lines needs other panes."""
        old = self.panes["log"]
        new = self.panes["log"] = LogTiles(self.lines)
        new.id, new.border_title = "log", "log"
        new.set_classes(old.classes)
        self.run_worker(self._swap(old, new), name="log")

    async def _swap(self, old: LogTiles, new: LogTiles) -> None:
        await old.remove()
        if new is self.panes["log"]:
            await self.query_one("#stage").mount(new, before=self.panes["limits"])

    # What is done --------------------------------------------------------------------------------------------

    def action_play(self) -> None:
        if self.bar is not None:
            self.bar.action_play()

    def action_next_event(self) -> None:
        if self.bar is not None:
            self.bar.action_step(1)

    def action_event_before(self) -> None:
        if self.bar is not None:
            self.bar.action_step(-1)

    def action_next_mark(self) -> None:
        if self.bar is not None:
            self.bar.action_jump(1)

    def action_mark_before(self) -> None:
        if self.bar is not None:
            self.bar.action_jump(-1)

    def action_bar(self) -> None:
        if self.bar is not None:
            self.set_focus(self.bar)  # at once: what is typed next is meant for it

    def ask(self, verb: str, args: dict[str, Data] | None = None) -> None:
        self.notify("a replay changes nothing; open the run itself for that", severity="warning", markup=False)

    def take_up(self, engine: Callable[[], EngineProcess]) -> None:
        self.ask("resume")

    def change(self, name: str, value: object) -> None:
        self.ask("limits")

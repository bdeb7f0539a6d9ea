"""The run screen: one run, live or recorded, of any process; its panes share one selection."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.timer import Timer

from agentdeck.console import gc_tuning
from agentdeck.console.actions import bindings
from agentdeck.console.feed import Feed
from agentdeck.console.graph.pane import GraphPane
from agentdeck.console.key_priority import KEYS, REPAINT
from agentdeck.console.log.tiles import LogTiles
from agentdeck.console.pane import PaneName
from agentdeck.console.panes.header import Header
from agentdeck.console.run_state import LATE, LiveRun
from agentdeck.console.screens.base import SizedScreen
from agentdeck.console.screens.run_controls import RunControls
from agentdeck.console.status_lines import Footer, Notice
from agentdeck.console.throttle import FrameRate
from agentdeck.insight.limits import windows
from agentdeck.operations.engine_process import EngineProcess
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Data

BEHIND = 0.2  # seconds between two frames of a run that is being caught up with
AT_LATEST = 0.3  # a frame waits for keys no longer than this after the last one
COVERED = 1.0  # the same for a run behind a dialog: the whole screen is then painted each time
OLD = 2.0  # seconds after which the age of what is shown is said
STARTING = {"resume": "resuming …", "retry": "retrying …"}
FAILED = {"run": "The run stopped", "resume": "Resume failed", "retry": "Retry failed"}
NOT_STARTED = (2, 3)  # exit codes of a process that never had the run: its arguments, or the store, are unusable
HINT = 8.0  # seconds for which a hint is shown


class RunScreen(SizedScreen):
    """Panes around one view. The only timer is the frame: it takes in what the feed has read, and lets every
    visible pane draw what changed. `feed` replaces the one that follows the store."""

    scope = "run"
    BINDINGS = bindings("run")

    def __init__(self, db: Path, run: str, feed: Feed | None = None) -> None:
        super().__init__()
        self.live = LiveRun(db, run, feed)
        send = partial(self.send_command, run)
        self.controls = RunControls(self, self.live, send, self.start_engine, self._show_hint)
        self.panes = self.controls.panes
        self.offers, self.typed = self.controls.offers, self.controls.typed_entries
        self._rate = FrameRate()
        self._interval = 0.0
        self._frame_timer: Timer | None = None
        self._after_key: Timer | None = None
        self._drawn_at = 0.0
        self._hint, self._hint_until = "", 0.0
        self._limits: dict[str, Data] = {}

    @property
    def run(self) -> str:
        return self.live.run

    @property
    def view(self) -> RunView:
        return self.live.view

    def compose(self) -> ComposeResult:
        yield self.panes
        yield Notice()
        yield Footer()

    def on_mount(self) -> None:
        self.live.feed.on_news = self._wake
        self.live.feed.start()
        self._set_frame_timer()

    async def on_unmount(self) -> None:
        self.app.set_timer(gc_tuning.SETTLED, gc_tuning.look_again)
        await self.live.close()

    # The frame ----------------------------------------------------------------------------------------------

    def _set_frame_timer(self) -> None:
        """Let frames come at the interval of the frame rate as it is now."""
        if self._interval != self._rate.interval:
            self._interval = self._rate.interval
            if self._frame_timer is not None:
                self._frame_timer.stop()
            self._frame_timer = self.set_interval(self._interval, self.frame)

    def frame(self) -> None:
        """Take in what the feed has read, and let the panes draw it."""
        feed = self.live.feed
        if feed.definition is None:
            self._show_starting()
            return
        if not self.live.is_open:
            self.controls.build(feed.definition)
            self.live.open(feed.definition, self.panes.lines)
            self.set_timer(gc_tuning.SETTLED, gc_tuning.set_aside)
        self.live.take()
        if self._limits != self.view.limits:
            self._limits = dict(self.view.limits)
            feed.windows = windows(self.view)
        since = time.monotonic() - self._drawn_at
        if not self.is_current or since < self._least_interval(self.live.late > LATE):
            return
        if KEYS.waits and since < AT_LATEST:
            self._draw_after_key()
            return
        began = time.thread_time()
        self._drawn_at = time.monotonic()
        self._update_header(feed)
        self.panes.limits.calls = feed.calls
        self.panes.header.reading = self.live.reading
        self.tick_panes(caught_up=self.live.caught_up)
        self.panes.update_breadcrumb()
        self.query_one(Notice).show(*self._notice(feed))
        cpu, clock = time.thread_time(), time.monotonic()
        self._rate.after_frame(cpu - began, self.live.taken, cpu=cpu, clock=clock)
        self._set_frame_timer()

    def _draw_after_key(self) -> None:
        """Draw once the key that was pressed last is painted, and not at the next frame, which may be far off."""
        if self._after_key is not None:
            self._after_key.stop()
        self._after_key = self.set_timer(REPAINT, self.frame)

    def _least_interval(self, late: bool) -> float:
        """Seconds between two drawn frames, at least."""
        return COVERED if not self.is_active else BEHIND if late else 0.0

    def tick_panes(self, *, caught_up: bool) -> None:
        """Let the visible panes draw the view. Until it has caught up, only the header and the log draw: its
        states and counts were true once and are false now, while log lines are true whenever they are read."""
        now = self.live.now
        for pane in self.panes.visible_panes():
            if caught_up or isinstance(pane, Header | LogTiles):
                pane.tick(self.view, now)
            elif not isinstance(pane, GraphPane):
                pane.show_placeholder(self.panes.header.reading_text)

    def on_key(self, event: events.Key) -> None:
        self._wake()

    def _wake(self) -> None:
        """Return to the full frame rate."""
        self._rate.wake(time.monotonic())
        self._set_frame_timer()

    def _update_header(self, feed: Feed) -> None:
        """Show what only the run's row says."""
        header, row = self.panes.header, feed.row
        if row is not None:
            own = self.run in self.console_app.engines
            alive = row.state in ("running", "paused")
            header.lost = row.state == "interrupted" and self.view.state != "draining"
            header.badges = () if own else ("watching",) if alive else ("recorded",)
            total = row.source.get("total")
            header.total = self.panes.graph.total = total if isinstance(total, int) else None
            header.age = feed.age if feed.age > OLD else 0.0

    # The notice ---------------------------------------------------------------------------------------------

    def _show_starting(self) -> None:
        """Say why the run is not in the store: it is being started, has failed to start, or does not exist."""
        engine = self.console_app.engines.get(self.run)
        notice, fault = self.query_one(Notice), self.live.feed.fault
        if engine is not None and engine.ended is not None:
            why = engine.stderr_tail or "its process wrote no error message"
            notice.show("failed", f"{self.run} did not start:  {why}")
        elif engine is None:
            notice.show("warn", fault or f"there is no run {self.run} in {self.live.db}")
        else:
            notice.show("dim", fault or f"{self.run} is starting …")

    def _notice(self, feed: Feed) -> tuple[str, str]:
        """The role and text of the most urgent thing to say; an empty text where there is none."""
        row = feed.row
        if feed.fault:
            return "bad", f"{feed.fault}  ·  the data shown is {feed.age:.0f} s old"
        if self.live.reading is not None:
            return "dim", f"{self.panes.header.reading_text} of {feed.known:,} events"
        if starting := self._starting():
            return "dim", starting
        if (refused := self._start_failure()) and row is not None and row.state not in ("running", "paused"):
            return "failed", refused
        if row is not None and row.state == "interrupted":
            return self._interrupted_notice()
        if time.monotonic() < self._hint_until:
            return "accent", self._hint
        if feed.age > OLD:
            return "warn", f"the data shown is {feed.age:.0f} s old"
        return "accent" if self.console_app.reminder else "", self.console_app.reminder

    def _interrupted_notice(self) -> tuple[str, str]:
        word = "drained" if self.view.state == "draining" else "is interrupted: no process executes it"
        return "interrupted", f"{self.run} {word}  ·  R resumes it"

    def _starting(self) -> str:
        """What a process was started for that has not begun with the run, as while it connects places; empty
        where there is none."""
        engine = self.console_app.engines.get(self.run)
        if engine is None or engine.ended is not None or engine.started < self.view.now:
            return ""
        return STARTING.get(engine.verb, "")

    def _start_failure(self) -> str:
        """Why the last process that was to execute this run could not, and which verb that was; empty where that
        is not so."""
        engine = self.console_app.engines.get(self.run)
        if engine is None or engine.ended not in NOT_STARTED:
            return ""
        why = engine.stderr_tail.rpartition("\n")[2].removeprefix("agentdeck: ")
        return f"{FAILED[engine.verb]}: {why or f'its process ended with {engine.ended}'}"

    def _show_hint(self, text: str) -> None:
        self._hint, self._hint_until = text, time.monotonic() + HINT

    def start_engine(self, engine: Callable[[], EngineProcess]) -> None:
        """Start a process that goes on with this run."""
        self.console_app.start(engine, look=False)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.panes.update_display()

    # Actions ------------------------------------------------------------------------------------------------

    def action_command(self, name: str) -> None:
        if name == "pause":
            self.console_app.used("p")
        self.controls.commands[name]()

    def action_show(self, name: PaneName) -> None:
        if name == "limits":
            self.console_app.used("t")
        self.panes.show(name)
        if self.live.caught_up:
            self.panes[name].tick(self.view, self.live.now)  # its rows, for the key that is pressed next

    def action_up(self) -> None:
        if not self.panes.go_up():
            self.dismiss()

    def action_back(self) -> None:
        self.dismiss()

    def action_letters(self) -> None:
        from agentdeck.console.screens.letters import LettersScreen

        self.app.push_screen(LettersScreen(self.run))

    def action_replay(self) -> None:
        from agentdeck.console.screens.replay import ReplayScreen

        self.app.push_screen(ReplayScreen(self.live.db, self.run))

"""The run screen: one run, live or recorded, of any process; its panes move together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.timer import Timer

from agentdeck.console import gc_tuning
from agentdeck.console.actions import bindings
from agentdeck.console.commands import tell
from agentdeck.console.feed import Feed
from agentdeck.console.feed_intake import LATE, Intake
from agentdeck.console.footer import Foot
from agentdeck.console.forecast_worker import Foresight
from agentdeck.console.palette import Found
from agentdeck.console.pane import Selection
from agentdeck.console.screens.history_actions import Recall
from agentdeck.console.screens.pane_layout import PANES
from agentdeck.console.status_lines import Notice, Tabs
from agentdeck.insight.limits import limits, windows
from agentdeck.insight.what_if import RunSnapshot, snapshot_run
from agentdeck.operations import engine_process
from agentdeck.store.command_client import Answer
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Data

FRAME = 0.05
SLOWEST = 0.5
BEHIND = 0.2  # between two pictures of a run that is being caught up with
BELOW = 1.0  # the same of a run that shines through a question: all of the screen is then painted each time
BUSY = 0.3  # of the processor's time that the loop may take before there are half as many frames
HALF = 0.1
COST = 0.008  # processor seconds that a picture may take before there are fewer of them
OLD = 2.0  # seconds after which the age of what is shown is told
UNUSABLE = (2, 3)  # how a process ends that never had the run: what it was told, or the store, is unusable
HINT = 8.0  # seconds for which a hint stands


class RunScreen(Recall):
    """Panes around one view. The only timer is the frame: it takes in what the feed has read, and lets every
    pane that can be seen draw what changed."""

    scope = "run"
    BINDINGS = bindings("run")

    def __init__(self, db: Path, run: str) -> None:
        super().__init__()
        self.db, self.run = db, run
        self.feed = Feed(db, run)
        self.intake: Intake | None = None
        self.view = RunView()
        self._every = FRAME
        self._timer: Timer | None = None
        self._quiet = self._taken = 0
        self._drew = self._spent = self._clock = 0.0
        self._resumed: float = 0.0
        self._hint = ("", 0.0)
        self._limits: dict[str, Data] = {}
        self._foresight = Foresight(self._standing)

    def compose(self) -> ComposeResult:
        yield Container(id="header")
        yield Tabs(PANES)
        yield Container(id="stage")
        yield Notice()
        yield Foot()

    def on_mount(self) -> None:
        self.begin()
        self._pace(FRAME)

    async def on_unmount(self) -> None:
        await self.end()

    def begin(self) -> None:
        """Let the run's events come."""
        self.feed.start()

    async def end(self) -> None:
        if self.intake is not None:
            self.intake.close()
        self.app.set_timer(gc_tuning.SETTLED, gc_tuning.look_again)
        await self.feed.close()

    # The frame ----------------------------------------------------------------------------------------------

    def _pace(self, every: float) -> None:
        self._every = every
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_interval(every, self.frame)

    def frame(self) -> None:
        """Take in what has come, and let the panes draw it."""
        feed = self.feed
        if feed.definition is None:
            self._await()
            return
        intake = self.intake
        if intake is None:
            self.view = RunView(feed.definition)
            self.build(feed.definition)
            intake = self.intake = Intake(feed, self.view, self.lines)
            self.set_timer(gc_tuning.SETTLED, gc_tuning.set_aside)
        intake.take()
        if self._limits != self.view.limits:
            self._limits = dict(self.view.limits)
            feed.windows = windows(self.view)
        late = intake.late > LATE
        if not self.is_current or time.monotonic() - self._drew < self._rest(late):
            return
        began = time.thread_time()
        self._drew = time.monotonic()
        self._tell_totals(feed)
        self.panes["limits"].calls = feed.calls
        self.header.reading = intake.reading
        self.tick_panes(caught_up=intake.caught_up)
        self.tell_target()
        self._notice(feed, intake)
        self._adapt(time.thread_time() - began, intake.taken)

    def tick_panes(self, *, caught_up: bool) -> None:
        """Let the panes that can be seen draw the view. Before it has caught up it is not drawn: its states and
        counts were true once, and are false now. The log's lines are true whenever they were read."""
        now = self.now
        for name, pane in self.panes.items():
            if not (pane.display and pane.size.height):
                continue
            if caught_up or name in ("header", "log"):
                pane.tick(self.view, now)
            elif name != "graph":
                pane.show_placeholder(self.header.told_reading)

    def _rest(self, late: bool) -> float:
        """Seconds between two pictures, at least."""
        return 0.0 if self.is_active and not late else BEHIND if self.is_active else BELOW

    @property
    def now(self) -> float:
        """The run's clock: this moment while somebody runs it, else when it stopped."""
        row = self.feed.row
        alive = row is not None and row.state in ("running", "paused") and self.view.ended is None
        return time.time() if alive else self.view.now

    def _adapt(self, took: float, taken: int) -> None:
        """Fewer frames where they cost too much or nothing comes any more; all of them again when it does."""
        self._quiet = 0 if taken != self._taken else self._quiet + 1
        self._taken = taken
        spent, clock = time.thread_time(), time.monotonic()
        busy = (spent - self._spent) / max(0.001, clock - self._clock)
        self._spent, self._clock = spent, clock
        wanted = self._every
        if took > COST:
            wanted = min(SLOWEST, self._every * 1.5)
        elif self._quiet > 40:
            wanted = SLOWEST if self.view.ended is not None else 0.1
        elif busy > BUSY:
            wanted = max(self._every, HALF)
        elif took < COST / 2 and busy < BUSY / 2:
            wanted = FRAME
        if wanted != self._every:
            self._pace(wanted)

    def on_key(self, event: events.Key) -> None:
        self._quiet = 0
        if self._every > FRAME:
            self._pace(FRAME)

    def _await(self) -> None:
        """The run is not in the store yet: it is being started, or it never will be."""
        engine = self.deck.engines.get(self.run)
        notice = self.query_one(Notice)
        if engine is not None and engine.ended is not None:
            why = engine.stderr_tail or "no word from its process"
            notice.tell("failed", f"{self.run} did not start:  {why}")
        elif engine is None:
            notice.tell("warn", self.feed.fault or f"there is no run {self.run} in {self.db}")
        else:
            notice.tell("dim", self.feed.fault or f"{self.run} is starting …")

    def _tell_totals(self, feed: Feed) -> None:
        """What only the run's row tells."""
        header, row = self.header, feed.row
        if row is not None:
            own = self.run in self.deck.engines
            alive = row.state in ("running", "paused")
            header.lost = row.state == "interrupted" and self.view.state != "draining"
            header.badges = () if own else ("watching",) if alive else ("recorded",)
            total = row.source.get("total")
            header.total = self.panes["graph"].total = total if isinstance(total, int) else None
            header.age = feed.age if feed.age > OLD else 0.0

    def heard(self, task: str, step: str) -> float | None:
        return self.intake.heard.get((task, step)) if self.intake is not None else None

    def _notice(self, feed: Feed, intake: Intake) -> None:
        """One line, only when there is something to say, the most urgent first."""
        notice, row = self.query_one(Notice), feed.row
        if feed.fault:
            notice.tell("bad", f"{feed.fault}  ·  what is shown is {feed.age:.0f} s old")
        elif intake.reading is not None:
            notice.tell("dim", f"{self.header.told_reading} of {feed.known:,} events")
        elif (refused := self._refused()) and row is not None and row.state not in ("running", "paused"):
            notice.tell("failed", f"it was not taken up: {refused}")
        elif row is not None and row.state == "interrupted":
            if time.monotonic() - self._resumed < 3:
                notice.tell("dim", "resuming …")
            else:
                drained = self.view.state == "draining"
                word = "drained" if drained else "interrupted: nobody runs it any more"
                notice.tell("interrupted", f"{self.run} {word}  ·  R goes on where it was")
        elif time.monotonic() < self._hint[1]:
            notice.tell("accent", self._hint[0])
        elif feed.age > OLD:
            notice.tell("warn", f"what is shown is {feed.age:.0f} s old")
        elif self.deck.reminder:
            notice.tell("accent", self.deck.reminder)
        else:
            notice.tell("", "")

    # What the panes ask of it ---------------------------------------------------------------------------------

    def change(self, name: str, value: object) -> None:
        """A limit was turned."""
        measure = name.removeprefix("budget.")
        if measure != name:
            verb, args = "budget", {"measure": measure, "amount": value, "more": False}
        else:
            verb, args = "limits", {name: value}

        def answered(answer: Answer) -> None:
            if not answer.ok:
                self.panes["limits"].refused(name, answer.text)

        self._foresight.forget()
        tell(self.app, self.db, self.run, verb, args, answered)

    def foresee(self, name: str, value: object) -> str:
        """What turning a limit would do; "…" while that is worked out."""
        return self._foresight(name, value)

    def _standing(self) -> RunSnapshot:
        assert self.view.definition is not None
        return snapshot_run(self.view, self.view.definition, self.header.total, self.feed.calls)

    def hint(self, text: str) -> None:
        self._hint = text, time.monotonic() + HINT

    def typed(self, query: str) -> Iterator[Found]:
        """For the palette: a verb with its arguments."""
        from agentdeck.console.typed_commands import found

        return found(self, query)

    def offers(self) -> Iterator[Found]:
        """For the palette: agents and open tasks of this run."""
        for name in self.view.agents:
            yield Found(f"Agent {name}", "Select it in every pane.", partial(self.select, Selection(agent=name)))
        for limit in limits(self.view, self.now):
            yield Found(f"Limit {limit.name}", "Turn it.", partial(self._to_limit, limit.name))
        for task in list(self.view.open)[:2000]:
            yield Found(f"Task {task}", "Select it in every pane.", partial(self.select, Selection(task=task)))

    def to_budget(self) -> None:
        names = (limit.name for limit in limits(self.view, self.now))
        self._to_limit(next((name for name in names if name.startswith("budget.")), ""))

    def _to_limit(self, name: str) -> None:
        self.go("limits")
        self.panes["limits"].move_to_key(name)

    # What the screen does -----------------------------------------------------------------------------------

    def action_letters(self) -> None:
        from agentdeck.console.screens.letters import LettersScreen

        self.app.push_screen(LettersScreen(self.run))

    def action_replay(self) -> None:
        from agentdeck.console.screens.replay import ReplayScreen

        self.app.push_screen(ReplayScreen(self.db, self.run))

    def _refused(self) -> str:
        """Why the last process that was to go on with this run did not begin; empty where that is not so."""
        engine = self.deck.engines.get(self.run)
        if engine is None or engine.ended not in UNUSABLE:
            return ""
        return engine.stderr_tail.rpartition("\n")[2] or f"its process ended with {engine.ended}"

    def take_up(self, engine: Callable[[], engine_process.EngineProcess]) -> None:
        if self.deck.start(engine, look=False):
            self._resumed = time.monotonic()

    def action_back(self) -> None:
        self.dismiss()

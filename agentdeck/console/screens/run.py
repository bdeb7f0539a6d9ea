"""The run screen: one run, live or recorded, of any process; its panes move together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Footer

from agentdeck.console import background, pauses
from agentdeck.console.actions import bindings
from agentdeck.console.command import tell
from agentdeck.console.feed import Feed
from agentdeck.console.intake import LATE, Intake
from agentdeck.console.palette import Found
from agentdeck.console.pane import Focus, Focused
from agentdeck.console.parts import part
from agentdeck.console.screens.verbs import Verbs
from agentdeck.console.strip import Notice, Tabs
from agentdeck.core.events import Event
from agentdeck.core.view import View
from agentdeck.store.reader import Reader
from agentdeck.workflow.model import Definition

if TYPE_CHECKING:
    from agentdeck.insight.step import StepStory

FRAME = 0.05
SLOWEST = 0.5
BEHIND = 0.2  # between two pictures of a run that is being caught up with
BELOW = 1.0  # the same of a run that shines through a question: all of the screen is then painted each time
BUSY = 0.3  # of the processor's time that the loop may take before there are half as many frames
HALF = 0.1
COST = 0.008  # processor seconds that a picture may take before there are fewer of them
MOST_RECORDED = 200_000  # events of which the timeline is drawn
OLD = 2.0  # seconds after which the age of what is shown is told

PANES = ("graph", "agents", "tasks", "timeline", "log", "limits")
SIDE = ("agents", "tasks", "timeline")


class RunScreen(Verbs):
    """Panes around one view. The only timer is the frame: it takes in what the feed has read, and lets every
    pane that can be seen draw what changed."""

    scope = "run"
    BINDINGS = bindings("run")
    CSS = """
    RunScreen #header { height: 3; }
    RunScreen.middle #header { height: 2; } RunScreen.narrow #header { height: 1; }
    RunScreen #header > * { height: 100%; }
    RunScreen #stage { height: 1fr; }
    RunScreen #stage > .pane { border: round $line; border-title-color: $text-muted; }
    RunScreen #stage > .pane:focus, RunScreen #stage > .pane:focus-within {
        border: round $primary; border-title-color: $primary;
    }
    RunScreen #stage > .away { display: none; }
    RunScreen.wide #stage { layout: grid; grid-size: 2; grid-columns: 1fr 1fr; grid-rows: 6fr 4fr 6; }
    RunScreen.wide #graph, RunScreen.wide #limits { column-span: 2; }
    RunScreen.middle #stage { layout: grid; grid-size: 1; grid-rows: 1fr 1fr; }
    RunScreen.narrow #stage > .pane, RunScreen.zoomed #stage > .pane { height: 1fr; width: 100%; }
    RunScreen.zoomed #stage, RunScreen.narrow #stage { layout: vertical; }
    RunScreen.narrow #stage > .pane { border: none; }
    RunScreen #limits { height: 1fr; }
    """

    def __init__(self, db: Path, run: str) -> None:
        super().__init__()
        self.db, self.run = db, run
        self.feed = Feed(db, run)
        self.intake: Intake | None = None
        self.view = View()
        self.lines: Any = None
        self.selected = Focus()
        self.side, self.main = "agents", "graph"
        self.zoomed = False
        self.panes: dict[str, Any] = {}
        self._every = FRAME
        self._timer: Timer | None = None
        self._quiet = self._taken = 0
        self._drew = self._spent = self._clock = 0.0
        self._caught_up = False
        self._resumed: float = 0.0

    def compose(self) -> ComposeResult:
        yield Container(id="header")
        yield Tabs(PANES)
        yield Container(id="stage")
        yield Notice()
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.begin()
        self._pace(FRAME)

    def on_unmount(self) -> None:
        self.end()

    def begin(self) -> None:
        """Let the run's events come."""
        self.feed.start()

    def end(self) -> None:
        if self.intake is not None:
            self.intake.close()
        self.feed.close()
        self.app.set_timer(pauses.SETTLED, pauses.look_again)

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
            self.view = View(feed.definition)
            self.build(feed.definition)
            intake = self.intake = Intake(feed, self.view, self.lines)
        intake.take()
        late = intake.late > LATE
        if not self.is_current or time.monotonic() - self._drew < self._rest(late):
            return
        began = time.thread_time()
        self._drew = time.monotonic()
        self._tell_header(feed)
        # How fast it goes can only be told from what happens now, not from how fast its past was read.
        self._caught_up |= not late
        now = self.now
        for name, pane in self.panes.items():
            if pane.display and pane.size.height and (self._caught_up or name != "header"):
                pane.tick(self.view, now)
        self._notice(feed, intake)
        self._adapt(time.thread_time() - began, intake.taken)

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
            notice.tell("failed", f"{self.run} did not start:  {engine.words or 'no word from its process'}")
        elif engine is None:
            notice.tell("warn", self.feed.fault or f"there is no run {self.run} in {self.db}")
        else:
            notice.tell("dim", self.feed.fault or f"{self.run} is starting …")

    def build(self, definition: Definition) -> None:
        """Put the panes on the stage."""
        self.lines = part("lines")
        arguments: dict[str, tuple[object, ...]] = {
            "graph": (definition,), "log": (self.lines,), "limits": (self.change,),
            "timeline": (self.recorded,),
        }  # fmt: skip
        header = part("header")
        self.query_one("#header").mount(header)
        self.panes["header"] = header
        stage = self.query_one("#stage")
        made: list[Widget] = []
        for name in PANES:
            pane = part(name, *arguments.get(name, ()))
            pane.id = name
            pane.add_class("pane")
            pane.border_title = name
            self.panes[name] = pane
            made.append(pane)
        stage.mount(*made)
        self._lay_out()
        self.call_after_refresh(self._focus, self.main)
        self.set_timer(pauses.SETTLED, pauses.set_aside)

    def _tell_header(self, feed: Feed) -> None:
        header, row = self.panes["header"], feed.row
        if hasattr(header, "badges") and row is not None:
            own = self.run in self.deck.engines
            alive = row.state in ("running", "paused")
            header.badges = () if own else ("watching",) if alive else ("recorded",)
            total = row.source.get("total")
            header.total = total if isinstance(total, int) else None
            header.age = feed.age if feed.age > OLD else 0.0

    def _notice(self, feed: Feed, intake: Intake) -> None:
        """One line, only when there is something to say, the most urgent first."""
        notice, row = self.query_one(Notice), feed.row
        if feed.fault:
            notice.tell("bad", f"{feed.fault}  ·  what is shown is {feed.age:.0f} s old")
        elif intake.late > LATE:
            done, known = feed.known - intake.behind, max(1, feed.known)
            notice.tell("dim", f"taking in {feed.known:,} events … {100 * done // known} %")
        elif row is not None and row.state == "interrupted":
            if time.monotonic() - self._resumed < 3:
                notice.tell("dim", "resuming …")
            else:
                drained = self.view.state == "draining"
                word = "drained" if drained else "interrupted: nobody runs it any more"
                notice.tell("interrupted", f"{self.run} {word}  ·  R goes on where it was")
        elif feed.age > OLD:
            notice.tell("warn", f"what is shown is {feed.age:.0f} s old")
        elif self.deck.reminder:
            notice.tell("accent", self.deck.reminder)
        else:
            notice.tell("", "")

    # Layout -------------------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self._lay_out()

    def _lay_out(self) -> None:
        """Which panes are on the stage: one when it is narrow or zoomed, else as many as fit."""
        if not self.panes:
            return
        self.set_class(self.zoomed, "zoomed")
        if self.zoomed or self.has_class("narrow"):
            on = {self.main}
        elif self.has_class("middle"):
            on = {"graph", self.side if self.main in ("graph", self.side) else self.main}
        else:
            on = {"graph", self.side, "log", "limits"}
        for name in PANES:
            self.panes[name].set_class(name not in on, "away")
        self.query_one(Tabs).tell(self.main, on)

    def _focus(self, name: str) -> None:
        pane = self.panes.get(name)
        if pane is not None and name != "header":
            target = pane if pane.can_focus else next((w for w in pane.walk_children() if w.focusable), None)
            if target is not None:
                target.focus()

    def go(self, name: str) -> None:
        """Bring a pane to the stage and give it the keys."""
        if not self.panes:
            return
        self.main = name
        if name in SIDE:
            self.side = name
        here = self.panes[name].display
        self._lay_out()
        if here:
            self._focus(name)  # at once, for the keys that are typed next are meant for it
        else:
            self.call_after_refresh(self._focus, name)

    def on_tabs_chosen(self, event: Tabs.Chosen) -> None:
        self.go(event.name)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        for name, pane in self.panes.items():
            if name != "header" and (event.widget is pane or pane in event.widget.ancestors):
                self.main = name
                self.query_one(Tabs).tell(name, None)

    # Panes tell each other ----------------------------------------------------------------------------------

    def on_focused(self, event: Focused) -> None:
        event.stop()
        self.selected = event.focus
        sender = event._sender
        for pane in self.panes.values():
            if pane is not sender:
                pane.look_at(event.focus)
        if event.opened:
            self.open(event.focus)

    def open(self, focus: Focus) -> None:
        """What was chosen: a step tells its story, a task shows when what of it ran, an agent its log."""
        step = focus.step or focus.agent.rpartition("/")[2]
        if focus.task and step:
            from agentdeck.console.detail import StepDetail

            self.app.push_screen(StepDetail(partial(self._story, focus.task, step)))
        elif focus.task:
            self.go("timeline")
        elif focus.agent:
            self.go("log")

    def _story(self, task: str, step: str) -> StepStory:
        """Called in a thread."""
        from agentdeck.insight.step import recorded_story

        reader = Reader(self.db)
        try:
            return recorded_story(reader, self.run, task, step)
        finally:
            reader.close()

    def recorded(self, task: str) -> list[tuple[int, Event]]:
        """What the store has of a task, of the whole run for an empty name. Called in a thread."""
        reader = Reader(self.db)
        try:
            events = reader.events(self.run, limit=MOST_RECORDED)
            return [(seq, e) for seq, e in events if not task or getattr(e, "task", "") == task]
        finally:
            reader.close()

    def change(self, name: str, value: object) -> None:
        """A limit was turned."""
        tell(self.app, self.db, self.run, "limits", {name: value})

    def offers(self) -> Iterator[Found]:
        """For the palette: agents and open tasks of this run."""
        for name in self.view.agents:
            yield Found(f"Agent {name}", "Select it in every pane.", partial(self.select, Focus(agent=name)))
        for task in list(self.view.open)[:2000]:
            yield Found(f"Task {task}", "Select it in every pane.", partial(self.select, Focus(task=task)))

    def select(self, focus: Focus) -> None:
        """As if a pane had selected it."""
        self.selected = focus
        for pane in self.panes.values():
            pane.look_at(focus)

    # What the screen does -----------------------------------------------------------------------------------

    def action_graph(self) -> None:
        self.go("graph")

    def action_agents(self) -> None:
        self.go("agents")

    def action_tasks(self) -> None:
        self.go("tasks")

    def action_timeline(self) -> None:
        self.go("timeline")

    def action_log(self) -> None:
        self.go("log")

    def action_limits(self) -> None:
        self.used("t")
        self.go("limits")

    def action_letters(self) -> None:
        from agentdeck.console.screens.letters import LettersScreen

        self.app.push_screen(LettersScreen(self.run))

    def action_replay(self) -> None:
        from agentdeck.console.screens.replay import ReplayScreen

        self.app.push_screen(ReplayScreen(self.db, self.run))

    def action_zoom(self) -> None:
        self.zoomed = not self.zoomed
        self.go(self.main)

    def action_resume(self) -> None:
        row = self.feed.row
        if row is None or row.state != "interrupted":
            self.notify("nothing to resume: it is not interrupted", severity="warning", markup=False)
            return
        if self.deck.start(lambda: background.resume(self.db, self.run), look=False):
            self._resumed = time.monotonic()

    def action_back(self) -> None:
        if self.zoomed:
            self.action_zoom()
        else:
            self.dismiss()

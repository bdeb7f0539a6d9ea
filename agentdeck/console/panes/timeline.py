"""Time: what the steps of a task did and waited for, or how busy each agent and each worker of a place was, and
what was worth noticing."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from textual import events
from textual.worker import Worker

from agentdeck.console.actions import bindings
from agentdeck.console.graph.card import state_of
from agentdeck.console.line_widget import Line, LineWidget, Pieces, fit, fit_pieces
from agentdeck.console.log.lines import agent_of
from agentdeck.console.pane import Selection, SelectionChanged
from agentdeck.console.panes.timeline_lanes import LaneSource, StepLanes
from agentdeck.console.state_style import GLYPHS
from agentdeck.console.throttle import Throttle
from agentdeck.console.timeline_chart import Axis, attempts, busy, window
from agentdeck.insight.formatting import plural, seconds
from agentdeck.insight.lower_bound import critical_steps
from agentdeck.scheduler.events import Event
from agentdeck.terminal_text import clean
from agentdeck.views.agent_activity import AgentActivity, agent_activity, worker_row
from agentdeck.views.agent_totals import AgentTotals
from agentdeck.views.place_workers import WorkerTotals
from agentdeck.views.run_timeline import TimelineEntry
from agentdeck.views.run_view import RunView
from agentdeck.views.task_timeline import TimelineRow, mark_asking, task_timeline, update_rows

#: What was read of a task is read again so often at most, while the view knows more; in seconds.
AGAIN = 1.0
#: Activity is drawn again so often at most, and only when it has moved on by half a cell.
SLOW = 0.25
#: Activity that was not seen for longer is read, not guessed; in seconds.
UNSEEN = 3.0
#: Cells left free after the end, for the text there.
ROOM = 9
MOMENTS = {
    "failed": ("✗", "failed"), "failure": ("✗", "bad"), "lost": ("!", "interrupted"), "retry": ("↻", "backoff"),
    "fallback": ("↷", "warn"), "limit": ("⚑", "accent"), "paused": ("‖", "paused"), "ended": ("■", "text"),
    "answered": ("?", "approval"), "released": ("▸", "accent"), "hurried": ("▸", "accent"),
    "held": ("‖", "paused"), "place": ("@", "accent"),
}  # fmt: skip

#: Reads the recorded events of a task, of the whole run for an empty name.
Source: TypeAlias = Callable[[str], Awaitable[list[tuple[int, Event]]]]


class TimelinePane(LineWidget):
    """A chart of the selected task; where none is selected, of all agents, and below them a lane per worker of a
    place. The run's moments are below it.

    `source` is called when another task is selected, and again while the run goes on. What was recorded after the
    view's last event is not shown, so that a replay shows what was known then. One step of the task can be
    unfolded: `lanes` reads its inner steps.
    """

    BINDINGS = bindings("timeline") + bindings("inside")

    def __init__(self, source: Source, lanes: LaneSource | None = None) -> None:
        super().__init__()
        self._source = source
        self._lane_source = lanes
        self._lanes: StepLanes | None = None
        self._inner: list[TimelineRow] = []
        self._folding: set[str] = set()  # steps of the task that have inner steps
        self._could_fold = False
        self.selection = Selection()
        self.zoom = 1.0
        self.left: float | None = None
        self.top = self.cursor = 0
        self._run = self._fault = self._placeholder = ""
        self._wanted: str | None = None
        self._worker: Worker[None] | None = None
        self._read: str | None = None
        self._events: Sequence[tuple[int, Event]] = ()
        self._seqs: list[int] = []
        self._known: object = None
        self._folded: list[TimelineRow] = []
        self._rows: list[TimelineRow] = []
        self._critical: set[str] = set()
        self._agents: list[AgentTotals] = []
        self._workers: Mapping[str, WorkerTotals] = {}
        self._names: list[str] = []
        self._throttle = Throttle()
        self._activity = AgentActivity()
        self._fresh = False
        self._failures: dict[str, int] = {}
        self._needs: dict[str, Sequence[str]] = {}
        self._moments: list[TimelineEntry] = []
        self._shown_seq = -1
        self._times = (0.0, 0.0, 0.0)
        self._ended = False
        self._asked = self._drawn = 0.0
        self._sought = ""

    # What is taken from the view -----------------------------------------------------------------------------

    def tick(self, view: RunView, now: float) -> None:
        if view.run != self._run:
            self._run, self._read, self._wanted, self._needs = view.run, None, None, {}
            self._activity, self._failures = AgentActivity(), {}
            if view.definition:
                self._needs = {name: agent.needs for name, agent in view.definition.agents.items()}
        self._placeholder = ""
        task = self.selection.task
        if not task:
            self._note(view, now)
        if self._read != task and self._wanted != task:
            self._load(task, now)
        self._ended = view.ended is not None
        if view.seq != self._shown_seq:
            self._shown_seq = view.seq
            self._moments = [m for m in reversed(view.timeline) if not task or m.task == task]
        if task:
            self._follow(view, now)
        else:
            start = view.started if view.started is not None else now
            self._times = start, view.ended if view.ended is not None else max(now, start), now
            cell = (self._times[1] - start) / self.zoom / max(1, self.size.width)
            if 0 <= now - self._drawn < max(SLOW, cell / 2) and not self._ended:
                return
            self._agents = [totals for totals in view.agents.values() if totals.has_steps or totals.attempts]
            workers = [worker_row(name) for name in view.place_workers.totals]
            self._names = [*(totals.name for totals in self._agents), *workers]
            self._workers = view.place_workers.totals
            self._reach(self.cursor)
            self._seek()
        self._drawn = now
        self.refresh_lines()
        if self._could_fold != (folds := self._folds()):
            self._could_fold = folds
            self.refresh_bindings()

    def _note(self, view: RunView, now: float) -> None:
        """Go on with the activity where what was recorded ends. After a while unseen it is read again."""
        known = self._activity
        if view.ended is not None:
            now = view.ended
        if not known.until or now <= known.until:
            return
        if now - known.until > UNSEEN and not self._fresh:
            known.until, self._read, self._wanted = 0.0, None, None
            return
        self._fresh = False
        for totals in view.agents.values():
            if totals.counts["running"]:
                known.add(totals.name, known.until, now, totals.counts["running"])
            if totals.failed_attempts > self._failures.get(totals.name, totals.failed_attempts):
                known.fail(totals.name, now)
            self._failures[totals.name] = totals.failed_attempts
        for name, worker in view.place_workers.totals.items():
            row, failed = worker_row(name), worker.failed + worker.lost
            known.add(row, known.until, now, worker.running)
            if failed > self._failures.get(row, failed):
                known.fail(row, now)
            self._failures[row] = failed
        known.until = now

    def _follow(self, view: RunView, now: float) -> None:
        """The rows of the task as of the view's last event."""
        name = self.selection.task
        task = view.open.get(name) or view.failed.get(name)
        number = bisect_right(self._seqs, view.seq) if self._read == name else 0
        steps = task.steps.values() if task else ()
        self._read_lanes(view, now)
        lanes = (view.seq, self._lanes.seq) if self._lanes is not None else None
        known = (name, number, lanes, tuple((s.key, s.state, s.attempts, s.started, s.ended) for s in steps))
        if known != self._known and self._throttle.due():
            with self._throttle:
                self._known = known
                self._folded = task_timeline(self._events[:number], name)
                rows = update_rows(self._folded, task) if task else self._folded
                asking = {step.key for step in steps if step.display_state == "asking"}
                self._rows = mark_asking(rows, asking)
                self._critical = critical_steps(self._rows, self._needs)
                self._names = [row.step for row in self._rows]
                self._folding = {s.key for s in steps if view.totals.inner_below(s.agent.name)}
                self._insert_lanes(view)
                self._reach(self.cursor)
                self._seek()
        if self._rows != self._folded and abs(now - self._asked) > AGAIN:
            self._load(name, now)
        first = [span.since for row in self._rows for span in row.spans]
        last = [span.until if span.until is not None else now for row in self._rows for span in row.spans]
        start = task.opened if task else min(first, default=now)
        self._ended = self._ended or task is None or task.ended is not None
        end = max(last, default=now) if self._ended else now
        self._times = min([start, *first]), max(end, start), now

    def _read_lanes(self, view: RunView, now: float) -> None:
        """Read more of the inner steps of the unfolded step, as long as some are not read."""
        lanes = self._lanes
        if lanes is not None and abs(now - lanes.read_at) > AGAIN and lanes.seq < view.seq:
            lanes.read_at = now
            self.run_worker(lanes.read(view.seq), exclusive=True, group="lanes")

    def _insert_lanes(self, view: RunView) -> None:
        """Put the inner steps of the unfolded step below its row. Keys act on the step there."""
        self._inner = []
        if self._lanes is not None and self._lanes.step in self._names:
            self._inner = self._lanes.rows(view.seq)
            below = self._names.index(self._lanes.step) + 1
            self._names[below:below] = [self._lanes.step] * len(self._inner)

    def _row(self, at: int) -> tuple[TimelineRow, bool]:
        """The row at this place, and whether it is an inner step."""
        first = self._names.index(self._lanes.step) + 1 if self._lanes is not None and self._inner else at + 1
        if at < first:
            return self._rows[at], False
        if at < first + len(self._inner):
            return self._inner[at - first], True
        return self._rows[at - len(self._inner)], False

    def _load(self, task: str, now: float) -> None:
        if self._worker is not None and self._worker.is_running and self._wanted == task:
            return  # a read that takes longer than AGAIN must not be replaced before it ends
        self._asked, self._wanted = now, task
        self._worker = self.run_worker(self._read_events(task), exclusive=True, group="timeline")

    async def _read_events(self, task: str) -> None:
        """Read the events of a task; of the whole run the activity, which is computed from them in a thread."""
        try:
            events = await self._source(task)
            activity = None if task else await asyncio.to_thread(agent_activity, events)
        except Exception as error:  # whatever it is, the pane says it
            self._read, self._fault = task, str(error)
            return
        if task == self.selection.task:
            self._read, self._fault = task, ""
            if activity is not None:
                self._activity, self._failures, self._fresh = activity, {}, True
            else:
                self._events = events
                self._seqs = [seq for seq, _ in events]
            self._known, self._drawn = None, 0.0

    def show_selection(self, selection: Selection) -> None:
        if selection.task != self.selection.task:
            self.zoom, self.left, self.top, self.cursor, self._shown_seq = 1.0, None, 0, 0, -1
            self._rows, self._names, self._known, self._drawn, self._throttle = [], [], None, 0.0, Throttle()
            self._lanes, self._inner, self._folding = None, [], set()
        self.selection = selection
        self._sought = (selection.step or selection.agent) if selection.task else selection.agent
        self._seek()
        self.refresh_lines()

    def _seek(self) -> None:
        """Put the cursor on the selection, as soon as its row is there."""
        if self._sought in self._names:
            self._reach(self._names.index(self._sought))
            self._sought = ""

    def show_placeholder(self, text: str) -> None:
        """There is nothing to draw yet, and why not."""
        self._placeholder = text
        self.refresh_lines()

    @property
    def cursor_selection(self) -> Selection | None:
        name = self._names[self.cursor] if self._names else ""
        if not name or name in (self.selection.step, self.selection.agent):
            return None
        return self._selection_of_row()

    def _selection_of_row(self) -> Selection:
        """What the row under the cursor shows. That of a worker selects nothing."""
        name, task = self._names[self.cursor], self.selection.task
        if task:
            return Selection(agent_of(task, name), task, name)
        return Selection() if self._worker_of(self.cursor) else Selection(name)

    # What is seen --------------------------------------------------------------------------------------------

    @property
    def page(self) -> int:
        """How many rows of the chart fit: the moments get the rest, and a third at least."""
        room = self.size.height - 1
        rest = min(len(self._moments), room // 3)
        return max(1, min(len(self._names), room - (rest + 1 if rest else 0)))

    def draw(self, y: int, width: int) -> Line:
        side = max(10, min(26, width // 4))
        chart = max(1, width - side - 1)
        start, end, _ = self._times
        end += (end - start) * ROOM / chart
        axis = Axis(*window(start, end, self.zoom, self.left), chart, start)
        if y == 0:
            title = f" task {self.selection.task}" if self.selection.task else " agents"
            return Line(((fit(title, side), "dim"), (" ", "dim"), *axis.ruler()))
        page, total = self.page, len(self._names)
        at = self.top + y - 1
        if y <= page and at < total:
            label = self._label(at, side)
            if at == self.cursor:
                # Only the name is highlighted: the colours of the bars have a meaning.
                label = tuple((text, "cursor" if self.has_focus else "raised") for text, _ in label)
            return Line((*label, (" ", "text"), *self._bars(at, axis)))
        if y <= page:
            return Line(((f"  {self._why_empty()}", "dim"),) if y == 1 else ())
        if y == page + 1:
            more = f"· {plural(total - page, 'row')} more " if total > page else ""
            title = f" events {more}"
            return Line(((title, "dim"), ("─" * (width - len(title)), "line")))
        number = y - page - 2
        return self._moment(self._moments[number]) if number < len(self._moments) else Line()

    def _why_empty(self) -> str:
        if self._fault:
            return f"the record cannot be read: {clean(self._fault)}"
        if self._placeholder:
            return self._placeholder
        return "reading …" if self._read != self.selection.task else "no step has run yet"

    def _label(self, at: int, width: int) -> Pieces:
        if not self.selection.task:
            return self._lane_label(at, width)
        row, inner = self._row(at)
        glyph = GLYPHS.get(row.state, "·") if row.spans or not inner else " "
        if inner:
            return ((f"   {glyph} ", row.state), (fit(row.step, width - 5), "dim"))
        mark = "◆" if row.step in self._critical else " "
        role = "critical" if row.step in self._critical else "text"
        unfolded = self._lanes is not None and self._lanes.step == row.step
        fold = ("▾ " if unfolded else "▸ ") if row.step in self._folding else ""
        name = fit(fold + row.step, width - 5)
        return ((f" {glyph} ", row.state), (name, role), (f" {mark}", "critical"))

    def _lane_label(self, at: int, width: int) -> Pieces:
        """The name of an agent, or of a worker with how many attempts run there."""
        if at < len(self._agents):
            state = state_of(self._agents[at].display_counts)
            return ((f" {GLYPHS[state]} ", state), (fit(self._names[at], width - 3), "text"))
        running = self._workers[self._worker_of(at)].running
        many = f" {running:,}" if running else ""
        name = fit(clean(self._worker_of(at)), width - 3 - len(many))
        return ((" @ ", "dim"), (name, "dim"), (many, "running"))

    def _worker_of(self, at: int) -> str:
        """The worker whose lane this row is; empty for an agent, and for a step of a task."""
        return "" if self.selection.task or at < len(self._agents) else self._names[at][1:]

    def _bars(self, at: int, axis: Axis) -> Pieces:
        now = None if self._ended else self._times[2]
        if self.selection.task:
            row, inner = self._row(at)
            if inner:
                return attempts(row, axis, self._times[1], now, critical=False)
            return attempts(row, axis, self._times[1], now, critical=row.step in self._critical)
        return busy(self._names[at], self._activity, axis, self._times[1])

    def _moment(self, moment: TimelineEntry) -> Line:
        glyph, role = MOMENTS.get(moment.kind, ("·", "text"))
        where = clean("/".join(part for part in (moment.task, moment.step) if part))
        since = seconds(max(0.0, moment.at - self._times[0]))
        pieces: Pieces = (
            (f" {since:>8}  ", "dim"), (f"{glyph} {moment.kind:<9}", role), (fit(where, 18) + " ", "text"),
            (clean(moment.text), role if role in ("failed", "bad") else "text"),
        )  # fmt: skip
        return Line(fit_pieces(pieces, self.size.width))

    # What is done --------------------------------------------------------------------------------------------

    def _reach(self, at: int) -> None:
        """Put the cursor on a row and bring it into view."""
        total = len(self._names)
        self.cursor = max(0, min(at, total - 1))
        self.top = max(0, min(max(self.cursor - self.page + 1, min(self.top, self.cursor)), total - self.page))

    def _post_selection(self, *, opened: bool = False) -> None:
        self._sought = ""
        if self._names:
            self.selection = self._selection_of_row()
            self.post_message(SelectionChanged(self, self.selection, opened=opened))

    def action_walk(self, by: int) -> None:
        before = self.cursor
        self._reach(self.cursor + by)
        self.refresh_lines()
        if self.cursor != before:
            self._post_selection()

    def action_open(self) -> None:
        self._post_selection(opened=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "fold" or self._folds()

    def _folds(self) -> bool:
        """Whether the step under the cursor has inner steps."""
        return bool(self._names) and self._names[self.cursor] in self._folding

    def action_fold(self) -> None:
        """Show or hide the inner steps of the step under the cursor."""
        step = self._names[self.cursor]
        if self._lanes is not None and self._lanes.step == step:
            self._lanes = None
        elif self._lane_source is not None:
            self._lanes = StepLanes(self._lane_source, self.selection.task, step)
        self.cursor = self._names.index(step)
        self._known, self._throttle = None, Throttle()

    def action_pan(self, by: int) -> None:
        start, end, _ = self._times
        first, last = window(start, end, self.zoom, self.left)
        left = max(start, first + by * (last - first) / 5)
        self.left = None if left + (last - first) >= end else left
        self.refresh_lines()

    def action_zoom(self, by: int) -> None:
        """Around the middle; at the end where the end is followed."""
        start, end, _ = self._times
        first, last = window(start, end, self.zoom, self.left)
        self.zoom = max(1.0, min(10_000.0, self.zoom * (1.5 if by > 0 else 1 / 1.5)))
        if self.left is not None:
            self.left = max(start, (first + last) / 2 - (end - start) / self.zoom / 2)
        if self.zoom == 1.0:
            self.left = None
        self.refresh_lines()

    def action_fit(self) -> None:
        self.zoom, self.left = 1.0, None
        self.refresh_lines()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._scroll(event, 1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._scroll(event, -1)

    def _scroll(self, event: events.MouseEvent, by: int) -> None:
        if event.ctrl:
            self.action_zoom(-by)
        elif event.shift:
            self.action_pan(by)
        else:
            self._sought = ""
            self._reach(self.cursor + by)
            self.refresh_lines()

    def on_click(self, event: events.Click) -> None:
        y = self.inside(event).y
        if 0 < y <= self.page:
            self._reach(self.top + y - 1)
            self.refresh_lines()
            self._post_selection(opened=event.chain == 2)

"""When the steps of one task waited, and for what, and when they ran."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import ENDED
from agentdeck.views.agent_totals import RunTotals
from agentdeck.views.step_transitions import Change, StepView, follow
from agentdeck.views.task_view import TaskView
from agentdeck.workflow.model import Definition

#: Events that leave no trace in a chart: a row is added when another event names the step.
_NOT_DRAWN = (
    ev.StepExpanded, ev.StepFellBack, ev.StepRepeated, ev.StepReleased, ev.Noted, ev.ReservationGrew,
    ev.AttemptPlaced, ev.InnerStarted, ev.InnerEnded,
)  # fmt: skip


class TimelineSpan(NamedTuple):
    """A time in one state. `kind` is the reason of the wait (`needs`, `pool`, `backoff`, …) where `attempt` is 0,
    else the state of the attempt: running, done, rejected, failed, lost, cancelled, asked (it ended with a
    question), asking (the question waits for its answer). `until` is None for now."""

    kind: str
    since: float
    until: float | None = None
    attempt: int = 0


class TimelineRow(NamedTuple):
    """A step of the task, with its spans in order of their beginning. `agent` made the last attempt."""

    step: str
    agent: str
    state: str
    spans: tuple[TimelineSpan, ...] = ()

    @property
    def ended(self) -> float | None:
        """When the step stopped running. None while it runs, and where it never ran."""
        return self.spans[-1].until if self.spans and self.spans[-1].attempt else None


class _Row:
    """The state of a step, and its spans."""

    def __init__(self, view: StepView) -> None:
        self.view = view
        self.agent = view.key.partition("[")[0]
        self.spans: list[TimelineSpan] = []


class TaskTimeline:
    """The spans of each step of one task, after the events applied so far."""

    def __init__(self, task: str, definition: Definition | None = None) -> None:
        self.task = task
        self._opened = 0.0
        self._totals = RunTotals(definition)
        self._rows: dict[str, _Row] = {}
        self._drawn: dict[str, None] = {}

    @property
    def views(self) -> dict[str, StepView]:
        """The state of each step that the log has named."""
        return {key: row.view for key, row in self._rows.items()}

    def rows(self) -> list[TimelineRow]:
        """The steps in the order in which they first began."""
        rows = [(key, self._rows[key]) for key in self._drawn]
        return [
            TimelineRow(key, row.agent, "rejected" if row.view.rejected else row.view.state, tuple(row.spans))
            for key, row in rows
        ]

    def apply(self, event: Any) -> None:
        """Apply an event of the run. Events of other tasks change nothing."""
        if getattr(event, "task", None) != self.task:
            return
        kind = type(event)
        if kind is ev.TaskOpened:
            self._opened = event.at
            for row in self._rows.values():  # a nested task, for another round of the step that it belongs to
                row.view = StepView(row.view.key, row.view.agent, "waiting", event.at)
            return
        key = getattr(event, "step", "")
        if key and kind not in _NOT_DRAWN:
            self._drawn[key] = None
        if key and key not in self._rows:
            agent = self._totals.agent(self._totals.graphs[""], key.partition("[")[0])
            self._rows[key] = _Row(StepView(key, agent, "waiting", self._opened))
        several = kind in (ev.TaskEnded, ev.StepReopened, ev.StepExpanded)
        for row in list(self._rows.values()) if several else [self._rows[key]] if key else []:
            view = row.view
            since = view.since
            if kind is ev.StepStarted and row.spans and (view.until is not None or view.waited is not None):
                since = row.spans.pop().since  # a backoff, drawn as it was planned
            change = follow(view, event)
            if change is not None:
                _draw(row, since, event, change)


def task_timeline(events: Iterable[tuple[int, ev.Event]], task: str) -> list[TimelineRow]:
    """The rows of a task, from its events or those of the whole run."""
    timeline = TaskTimeline(task)
    for _, event in events:
        timeline.apply(event)
    return timeline.rows()


def _draw(row: _Row, since: float, event: Any, change: Change) -> None:
    """Add what one event changed to the spans of a row. `since` is when the step had stopped running before."""
    spans = row.spans
    if isinstance(event, ev.StepStarted):
        _draw_waits(spans, since, event.at, change)
        spans.append(TimelineSpan("running", event.at, None, event.attempt))
        row.agent = event.agent
    elif isinstance(event, ev.StepAnswered) and not change.ended:
        _draw_waits(spans, since, event.at, change)
    elif isinstance(event, ev.StepRetrying):
        spans.append(TimelineSpan(event.reason, event.at, event.until))
    elif change.outcome:
        ended = {started.attempt for started in change.ended}
        if change.outcome == "deferred":
            spans[:] = [span for span in spans if span.attempt not in ended or span.until is not None]
        else:
            spans[:] = [_ended(span, event.at, change.outcome, ended) for span in spans]


def _draw_waits(spans: list[TimelineSpan], since: float, at: float, change: Change) -> None:
    """Add the waits before an attempt."""
    for reason, seconds in change.waits.items():
        until = min(at, since + seconds)
        if until > since:
            spans.append(TimelineSpan(reason, since, until))
            since = until


def _ended(span: TimelineSpan, at: float, outcome: str, attempts: Collection[int]) -> TimelineSpan:
    """The span, where these attempts have ended, and a backoff with them."""
    if span.until is None and span.attempt in attempts:
        return span._replace(kind=outcome, until=max(at, span.since))
    if span.until is not None and span.until > at:
        return span._replace(until=max(at, span.since))
    return span


def update_rows(rows: Sequence[TimelineRow], task: TaskView) -> list[TimelineRow]:
    """The rows, read from the store a while ago, as of the last event of the run view."""
    updated: list[TimelineRow] = []
    known: set[str] = set()
    for row in rows:
        known.add(row.step)
        step = task.steps.get(row.step)
        updated.append(row if step is None else _updated(row, step))
    for key, step in task.steps.items():
        if key not in known and step.started is not None and step.size < 0:
            row = TimelineRow(key, step.agent.name.rpartition("/")[2], "waiting")
            updated.append(_updated(row, step))
    return updated


def _updated(row: TimelineRow, step: StepView) -> TimelineRow:
    state, started, ended, attempts = step.state, step.started, step.ended, step.attempts
    spans = list(row.spans)
    last = spans[-1] if spans else None
    if (
        started is not None
        and (last is None or started > last.since)
        and attempts > (last.attempt if last else 0)
    ):
        if last is not None and last.until is None:
            spans[-1] = last._replace(until=started, kind="failed" if last.attempt else last.kind)
        spans.append(TimelineSpan("running", started, None, attempts))
    if spans and spans[-1].until is None and spans[-1].attempt and state != "running":
        spans[-1] = spans[-1]._replace(kind=state if state in ENDED else "failed", until=ended)
    rejected = row.state == "rejected" and state == "done"
    return row._replace(state="rejected" if rejected else state, spans=tuple(spans))


def mark_asking(rows: Sequence[TimelineRow], steps: Collection[str]) -> list[TimelineRow]:
    """The rows, with these steps as `asking`: they wait for an answer of the operator. Where their attempt ended
    with the question, the last span ends with it."""
    return [row if row.step not in steps or row.state != "running" else _asking(row) for row in rows]


def _asking(row: TimelineRow) -> TimelineRow:
    spans = [one._replace(kind="asking") if one.until is None and one.attempt else one for one in row.spans]
    if spans and spans[-1].kind == "asked" and spans[-1].until is not None:
        spans.append(TimelineSpan("asking", spans[-1].until, None, spans[-1].attempt))
    return row._replace(state="asking", spans=tuple(spans))

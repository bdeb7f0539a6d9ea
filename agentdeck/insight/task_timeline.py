"""When the steps of one task waited, and for what, and when they ran: a fold of the task's events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import inf
from typing import NamedTuple

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import ENDED
from agentdeck.views.task_view import TaskView

#: What ends a join and what begins after it are at most so far apart, in seconds.
SAME = 0.0005


class TimelineSpan(NamedTuple):
    """A stretch of time in one state. `kind` is why it waited (`needs`, `pool`, `backoff`, …) where `attempt`
    is 0, else how the attempt stands: running, done, rejected, failed, lost, cancelled. `until` None goes on."""

    kind: str
    since: float
    until: float | None = None
    attempt: int = 0


class TimelineRow(NamedTuple):
    """A step of the task, its spans in order of their beginning. `state` is the step's own, `agent` who has done
    the last attempt."""

    step: str
    agent: str
    state: str
    spans: tuple[TimelineSpan, ...] = ()

    @property
    def ended(self) -> float | None:
        """When it stopped running. None while it has not, or never ran."""
        return self.spans[-1].until if self.spans and self.spans[-1].attempt else None


def task_timeline(events: Iterable[tuple[int, ev.Event]], task: str) -> list[TimelineRow]:
    """The steps of a task in the order in which they first began. Events of other tasks are passed over."""
    fold = _Fold()
    for _, event in events:
        if getattr(event, "task", None) == task:
            fold.take(event)
    return [TimelineRow(key, step.agent, step.state, tuple(step.spans)) for key, step in fold.steps.items()]


def update_rows(rows: Sequence[TimelineRow], task: TaskView) -> list[TimelineRow]:
    """The rows brought up to what the view knows by now, where their events were read a while ago."""
    fresh: list[TimelineRow] = []
    known: set[str] = set()
    for row in rows:
        known.add(row.step)
        step = task.steps.get(row.step)
        fresh.append(row if step is None else _newer(row, step.state, step.started, step.ended, step.attempts))
    for key, step in task.steps.items():
        if key not in known and step.started is not None and step.size < 0:
            row = TimelineRow(key, step.agent.name.rpartition("/")[2], "waiting")
            fresh.append(_newer(row, step.state, step.started, step.ended, step.attempts))
    return fresh


def _newer(
    row: TimelineRow, state: str, started: float | None, ended: float | None, attempts: int
) -> TimelineRow:
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


def mark_asking(rows: Sequence[TimelineRow], agents: Collection[str]) -> list[TimelineRow]:
    """The rows, where a step of these agents does not run but asks a person while it goes on."""
    return [
        row
        if row.agent not in agents or row.state != "running"
        else row._replace(
            state="asking",
            spans=tuple(s._replace(kind="asking") if s.until is None and s.attempt else s for s in row.spans),
        )
        for row in rows
    ]


def critical_steps(rows: Sequence[TimelineRow], needs: Mapping[str, Sequence[str]]) -> set[str]:
    """The steps on which the task waited: from what ended last, back over the need that let it begin each time.
    That is the last of those that had ended when its join was satisfied: the second of three for a quorum of two.
    Of what still runs, the one that began last."""
    ended: dict[str, tuple[float, float, str]] = {}
    ready: dict[str, float] = {}
    for row in rows:
        if row.spans:
            name, final = row.step.partition("[")[0], row.spans[-1]
            until = inf if final.until is None else final.until
            ended[name] = max(ended.get(name, (0.0, 0.0, "")), (until, final.since, row.step))
            first = row.spans[0]
            begins = first.until if first.kind == "needs" and first.until is not None else first.since
            ready[name] = min(ready.get(name, inf), begins)
    path: set[str] = set()
    last = max(ended, key=lambda name: ended[name], default=None)
    while last is not None and ended[last][2] not in path:
        path.add(ended[last][2])
        before = ready[last] + SAME
        above = [need for need in needs.get(last, ()) if need in ended and ended[need][0] <= before]
        above = above or [need for need in needs.get(last, ()) if need in ended]
        last = max(above, key=lambda name: ended[name], default=None)
    return path


class _Step:
    __slots__ = ("agent", "held", "since", "spans", "state", "until")

    def __init__(self, agent: str, since: float) -> None:
        self.agent = agent
        self.state = "waiting"
        self.since = since
        self.spans: list[TimelineSpan] = []
        #: Reasons for which it was held back since it last ran, with when each began.
        self.held: list[tuple[float, str]] = []
        self.until: float | None = None


class _Fold:
    def __init__(self) -> None:
        self.opened = 0.0
        self.steps: dict[str, _Step] = {}

    def step(self, key: str) -> _Step:
        if key not in self.steps:
            self.steps[key] = _Step(key.partition("[")[0], self.opened)
        return self.steps[key]

    def take(self, event: ev.Event) -> None:
        match event:
            case ev.TaskOpened(at=at):
                self.opened = at
            case ev.StepStarted(step=key):
                self._started(self.step(key), event)
            case ev.StepSucceeded(at=at, step=key, attempt=attempt):
                self._ended(self.step(key), at, attempt, "done", "done")
            case ev.AttemptFailed(at=at, step=key, attempt=attempt):
                self._ended(self.step(key), at, attempt, "failed", "ready")
            case ev.AttemptLost(at=at, step=key, attempt=attempt):
                self._ended(self.step(key), at, attempt, "lost", "ready")
            case ev.AttemptDeferred(at=at, step=key, attempt=attempt, reason=reason):
                step = self.step(key)
                step.spans = [span for span in step.spans if span.attempt != attempt or span.until is not None]
                step.state, step.since = "ready", at
                step.held.append((at, reason))
            case ev.StepRetrying(at=at, step=key, until=until, reason=reason):
                step = self.step(key)
                step.spans.append(TimelineSpan(reason, at, until))
                step.state, step.since, step.until = "ready", at, until
            case ev.StepWaited(at=at, step=key, reason=reason):
                self.step(key).held.append((at, reason))
            case ev.StepDone(at=at, step=key):
                self._over(self.step(key), at, "done")
            case ev.StepFailed(at=at, step=key):
                self._over(self.step(key), at, "failed")
            case ev.StepSkipped(at=at, step=key):
                self._over(self.step(key), at, "skipped")
            case ev.StepCancelled(at=at, step=key):
                self._over(self.step(key), at, "cancelled")
            case ev.StepAnswered(at=at, step=key, approved=approved):
                self._over(self.step(key), at, "done" if approved else "rejected")
            case ev.StepReopened(at=at, step=key):
                step = self.step(key)
                step.state, step.since = "ready", at
            case ev.TaskEnded(at=at):
                for step in self.steps.values():
                    if step.state not in (*ENDED, "rejected"):
                        self._over(step, at, "cancelled")

    def _started(self, step: _Step, e: ev.StepStarted) -> None:
        self._waited(step, e)
        step.spans.append(TimelineSpan("running", e.at, None, e.attempt))
        step.agent, step.state, step.until = e.agent, "running", None
        step.held.clear()

    def _waited(self, step: _Step, e: ev.StepStarted) -> None:
        """From when it last ran to now: for its needs, then for what held it back, at last for the pool."""
        since = step.since
        if step.spans and step.spans[-1].attempt and step.spans[-1].until is None:
            return
        if step.until is not None:
            if step.until > e.at:
                step.spans[-1] = step.spans[-1]._replace(until=e.at)
            since = min(step.until, e.at)
        elif e.ready > since:
            step.spans.append(TimelineSpan("needs", since, e.ready))
            since = e.ready
        if e.waits is not None and "pool" in e.waits:
            self._told(step, since, e)
            return
        held = [(max(since, at), reason) for at, reason in step.held]
        if not held:
            at = since
            for reason, seconds in (e.waits or {}).items():
                if reason not in ("needs", "pool", "backoff"):
                    held.append((at, reason))
                    at += seconds
            if held:
                held.append((at, "pool"))
        if not held or held[0][0] > since:
            held.insert(0, (since, "pool"))
        for (at, reason), (end, _) in zip(held, [*held[1:], (e.at, "")], strict=True):
            if min(end, e.at) > at:
                step.spans.append(TimelineSpan(reason, at, min(end, e.at)))

    def _told(self, step: _Step, since: float, e: ev.StepStarted) -> None:
        """Reasons that add up to the whole: those that began late in the log come late, the others before."""
        waits = dict(e.waits or {})
        if step.until is not None and step.spans:
            backoff = step.spans[-1]
            waits[backoff.kind] = waits.get(backoff.kind, 0.0) - ((backoff.until or e.at) - backoff.since)
        late = [reason for _, reason in step.held]
        ordered = sorted(waits, key=lambda reason: late.index(reason) + 1 if reason in late else 0)
        for reason in ordered:
            until = min(e.at, since + waits[reason])
            if until > since:
                step.spans.append(TimelineSpan(reason, since, until))
                since = until

    def _ended(self, step: _Step, at: float, attempt: int, kind: str, state: str) -> None:
        for place in range(len(step.spans) - 1, -1, -1):
            span = step.spans[place]
            if span.attempt == attempt and span.until is None:
                step.spans[place] = span._replace(kind=kind, until=at)
                break
        step.state, step.since = state, at

    def _over(self, step: _Step, at: float, state: str) -> None:
        """Whatever still runs ends with the step."""
        for place, span in enumerate(step.spans):
            if span.until is None or span.until > at:
                kind = state if span.attempt and span.until is None else span.kind
                step.spans[place] = span._replace(kind=kind, until=max(at, span.since))
        step.state, step.since = state, at

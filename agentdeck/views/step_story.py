"""Everything that the log says about one step: its attempts, what it read, and what happened between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import describe, output_of, record
from agentdeck.views.agent_totals import RunTotals
from agentdeck.views.inner_place import InnerPlace
from agentdeck.views.inner_tree import NEWEST, InnerTree
from agentdeck.views.recorded_task import RecordedTask
from agentdeck.views.step_transitions import Change, StepView, end_with_task, follow
from agentdeck.workflow.deck import LOCAL
from agentdeck.workflow.model import Agent, Data, Definition


@dataclass(slots=True)
class AttemptStory:
    """One attempt. `waits` says how the time from `ready` to `started` was spent, by reason, where that is known.
    `worker` is the one of its place that had it. `state` is running, done, failed, lost, skipped or cancelled.
    `retry_at` and `retry_for`: when the step was retried, and after which kind of wait. `inner` are the steps
    inside it, and `inside` says in which of them it failed."""

    number: int
    agent: str
    ready: float
    started: float
    round: int = 1
    tier_up: int = 0
    waits: dict[str, float] = field(default_factory=dict)
    ended: float | None = None
    state: str = "running"
    fault: Fault | None = None
    usage: ev.Usage | None = None
    reused: bool = False
    retry_at: float | None = None
    retry_for: str = ""
    model: str = ""
    eased: str = ""
    uses: dict[str, float] | None = None
    inside: str = ""
    worker: str = ""
    inner: InnerTree = field(default_factory=InnerTree)

    @property
    def seconds(self) -> float | None:
        return None if self.ended is None else self.ended - self.started

    @property
    def waited(self) -> float:
        return max(0.0, self.started - self.ready)


def _by(who: str) -> str:
    return f" by {who}" if who else ""


#: What is noted of an event of the step; empty for nothing.
_NOTES: dict[type, Callable[[Any], str]] = {
    ev.AttemptDeferred: lambda e: e.why,
    ev.StepFellBack: lambda e: f"fallback to {e.agent}",
    ev.StepRepeated: lambda e: f"round {e.round}",
    ev.StepExpanded: lambda e: f"{e.size:,} items",
    ev.StepFailed: lambda e: "failed; the task continues without it" if e.tolerated else "",
    ev.StepSkipped: lambda e: f"skipped: {e.why}",
    ev.StepCancelled: lambda e: e.why or "cancelled",
    ev.StepReleased: lambda e: "join released" + _by(e.who),
    ev.StepAnswered: describe,
    ev.StepReopened: lambda e: "runs again" + _by(e.who),
    ev.StepWaited: lambda e: f"waits for {e.reason}" + (f": {e.why}" if e.why else ""),
    ev.Noted: lambda e: e.text,
}


class StepStory:
    """One step of one task, after the events applied so far.

    `view` is its state. `opened` is when its task was opened. `notes` are the moments between attempts, with
    their times. `decision` is the record of an approval's answer. `scope` is what the agent `acting` could read
    when the last attempt began; None where that is not known. `inputs` and `asked` show it: `insight.step` fills
    them in. Of each attempt about `inner` inner steps are remembered. `seq` is the number of the last event.
    """

    def __init__(
        self, definition: Definition | None, task: str, step: str, run: str = "", *, inner: int = NEWEST
    ) -> None:
        self.seq = 0
        self.task, self.step, self.run = task, step, run
        self.agent = self.verb = ""
        self.acting: Agent | None = None
        self.opened: float | None = None
        self.scope: dict[str, Data] | None = None
        self.inputs: dict[str, Data] = {}
        self.asked: dict[str, Data] = {}
        self.output: Data = None
        self.size: int | None = None
        self.attempts: list[AttemptStory] = []
        self.notes: list[tuple[float, str]] = []
        self.decision: dict[str, Data] | None = None
        self._named = False
        self._inner = inner
        self._place = InnerPlace()
        self._recorded = RecordedTask(definition, task, run)
        name = step.partition("[")[0]
        if definition is not None and name in definition.agents:
            self.acting = definition.agents[name]
            self.agent, self.verb = name, self.acting.does.verb
        totals = RunTotals(definition)
        self._totals = totals.agent(totals.graphs[""], name)
        self.view = StepView(step, self._totals, "waiting", 0.0)

    @property
    def known(self) -> bool:
        """Whether the log says anything about this step, or its workflow has it."""
        return bool(self.agent or self.attempts or self.notes)

    @property
    def place(self) -> str:
        """Where the attempts of its agent run; empty for the engine's own process."""
        return "" if self.acting is None or self.acting.place == LOCAL else self.acting.place

    @property
    def state(self) -> str:
        return self.view.state

    @property
    def display_state(self) -> str:
        return self.view.display_state

    @property
    def ended(self) -> float | None:
        return self.view.ended

    @property
    def fault(self) -> Fault | None:
        """Why the step failed. None where it has not."""
        return self.view.fault if self.view.state == "failed" else None

    @property
    def letter(self) -> bool:
        """Whether the step is a dead letter."""
        return self.view.letter

    @property
    def inside(self) -> str:
        """Where inside its last attempt the step failed; empty where that is not known."""
        return self.view.inside

    def apply(self, event: ev.Event) -> None:
        """Apply an event of the run. Events of other tasks change nothing."""
        if getattr(event, "task", None) != self.task:
            return
        if isinstance(event, ev.InnerStarted | ev.InnerEnded):
            if event.step == self.step:
                self._inner_step(event)
            return
        if isinstance(event, ev.TaskOpened):
            # A nested task is opened again for another round of the step that it belongs to: all of it is new.
            self.opened, self._named = event.at, False
            self.view = StepView(self.step, self._totals, "waiting", event.at)
        self._recorded.apply(event)
        if isinstance(event, ev.TaskEnded):
            if self._named or not (self.acting is not None and self.acting.spare):
                self._end_attempts(event, end_with_task(self.view, event, named=self._named))
            return
        fault = self.view.fault
        change = follow(self.view, event)
        if change is not None:
            self._named = True
            if isinstance(event, ev.AttemptFailed | ev.StepFailed):
                place = self._place.of(event.fault)
                if place or fault != event.fault:
                    self.view.inside = place
            self._change(event, change)
        if getattr(event, "step", "") == self.step:
            self._own(event)

    # The attempts

    def _change(self, event: Any, change: Change) -> None:
        kind = type(event)
        if kind is ev.StepStarted:
            self._start(event)
        elif kind is ev.AttemptDeferred:
            self.attempts = [one for one in self.attempts if one.number != event.attempt]
        elif kind is ev.AttemptPlaced and self.attempts:
            self.attempts[-1].worker = event.worker
        elif kind is ev.StepRetrying and self.attempts:
            self.attempts[-1].retry_at, self.attempts[-1].retry_for = event.until, event.reason
        else:
            self._end_attempts(event, change)

    def _start(self, e: ev.StepStarted) -> None:
        waits = dict(e.waits or {})
        story = AttemptStory(e.attempt, e.agent, e.ready, e.at, e.round, e.tier_up, waits)
        story.model, story.eased, story.uses = e.model, e.eased, e.uses
        story.inner = InnerTree(self._inner)
        self._place = InnerPlace()
        self.attempts.append(story)
        acting = self._recorded.agent(e.agent)
        if acting is not None:
            self.acting, self.scope = acting, self._recorded.scope(e.step)

    def _inner_step(self, event: ev.InnerStarted | ev.InnerEnded) -> None:
        """A step inside the attempt began or ended."""
        attempt = next((one for one in reversed(self.attempts) if one.number == event.attempt), None)
        if attempt is None or attempt.ended is not None:
            return
        if isinstance(event, ev.InnerStarted):
            self._place.start(event)
            attempt.inner.start(event)
        else:
            self._place.end(event)
            attempt.inner.end(event)

    def _end_attempts(self, event: Any, change: Change) -> None:
        ended = {started.attempt for started in change.ended}
        for one in self.attempts:
            if one.number in ended and one.ended is None:
                one.ended = event.at
                one.inner.close(event.at, asked=change.outcome == "asked")
                one.state = "done" if change.outcome == "rejected" else change.outcome
                one.usage = getattr(event, "usage", None)
                one.reused = getattr(event, "reused", False)
                one.fault = event.fault if isinstance(event, ev.AttemptFailed) else None
                one.inside = self.view.inside if one.fault is not None else ""

    # The step

    def _own(self, event: Any) -> None:
        """What the step gave, its items, and a note."""
        kind = type(event)
        if kind is ev.StepSucceeded:
            self.output = event.output
        elif kind is ev.StepAnswered:
            self.decision = record(event)
            self.output = self.output if event.question else output_of(event)
        elif kind is ev.StepExpanded:
            self.size = event.size
        elif kind is ev.StepReopened:
            self.decision = None
        elif (
            kind is ev.StepDone
            and (step := self._recorded.step(self.step)) is not None
            and step.items is not None
        ):
            self.output = step.output
        note = _NOTES[kind](event) if kind in _NOTES else ""
        if note or kind is ev.Noted:
            self.notes.append((event.at, note))

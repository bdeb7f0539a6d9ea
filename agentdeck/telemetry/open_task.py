"""Open tasks and their steps, as far as their spans need them, and the ids of those spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agentdeck.scheduler import events as ev
from agentdeck.telemetry import attributes as at
from agentdeck.telemetry.span import Span, SpanEvent, SpanLink, Value
from agentdeck.trace_ids import attempt_span_id, span_id, trace_id
from agentdeck.views.agent_totals import AgentTotals, RunTotals
from agentdeck.views.step_transitions import StepView
from agentdeck.workflow.model import Agent, Data, Definition


@dataclass(slots=True)
class OpenStep:
    """One life of a step: from the opening of its task, or its reopening, to its end. `life` is 0, or the number
    of the event that reopened it. `idle` is when it last stopped running. `round` is the number of the round
    under way, since `round_since`; 0 between rounds."""

    view: StepView
    life: int
    since: float
    idle: float
    links: tuple[SpanLink, ...] = ()
    attempts: int = 0
    waited: float = 0.0
    worked: float = 0.0
    round: int = 0
    round_since: float = 0.0
    moments: list[SpanEvent] = field(default_factory=list)
    output: Data = None
    over: bool = False

    @property
    def key(self) -> str:
        return self.view.key

    @property
    def group(self) -> str:
        """The step that it is an item of; its own key where it is none."""
        return self.view.key.partition("[")[0]


@dataclass(slots=True)
class InnerAttempt:
    """The inner steps of one attempt that run, by number, and what those with a span used."""

    attempt: int
    started: dict[int, ev.InnerStarted] = field(default_factory=dict)
    count: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cached_in: int = 0
    usd: float = 0.0


@dataclass(slots=True)
class OpenTask:
    """An open task. `life` is 0, or the number of the event that opened it again. `above` is the span that
    contains a nested task, empty for a task of the run. `nested` names the tasks opened below it. `inside_of` has
    the inner steps of running attempts, by step."""

    run: str
    id: str
    opened: float
    life: int
    above: str
    definition: Definition | None
    totals: RunTotals
    inputs: Data = None
    steps: dict[str, OpenStep] = field(default_factory=dict)
    nested: set[str] = field(default_factory=set)
    inside_of: dict[str, InnerAttempt] = field(default_factory=dict)

    def agent(self, name: str) -> Agent | None:
        """The agent of this name; None where its workflow is not known."""
        return self.definition.agents.get(name) if self.definition is not None else None

    def agent_totals(self, key: str) -> AgentTotals:
        return self.totals.agent(self.totals.graphs[""], key.partition("[")[0])

    def step(self, key: str) -> OpenStep:
        """The step, added when the log first names it."""
        step = self.steps.get(key)
        if step is None:
            group = self.steps.get(key.partition("[")[0])
            since = self.opened  # an item exists from when its step was expanded
            if group is not None and group.key != key and group.view.started is not None:
                since = group.view.started
            step = self.begin(StepView(key, self.agent_totals(key), "waiting", since), self.life, since)
        return step

    def begin(self, view: StepView, life: int, since: float) -> OpenStep:
        """Begin a life of a step."""
        step = OpenStep(view, life, since, since)
        self.steps[view.key] = step
        return step

    # Ids of spans

    @property
    def trace(self) -> str:
        return trace_id(self.run, self.id)

    @property
    def span(self) -> str:
        return span_id(self.run, self.id, "task", self.life)

    def step_span(self, step: OpenStep) -> str:
        return span_id(self.run, self.id, step.key, "step", step.life)

    def round_span(self, step: OpenStep) -> str:
        return span_id(self.run, self.id, step.key, "round", step.life, step.round)

    def attempt_span(self, step: str, attempt: int) -> str:
        return attempt_span_id(self.run, self.id, step, attempt)

    def wait_span(self, step: OpenStep, seq: int, reason: str) -> str:
        return span_id(self.run, self.id, step.key, "wait", seq, reason)

    def around(self, step: OpenStep) -> str:
        """The span that contains the attempts and waits of a step: its round, else the step."""
        return self.round_span(step) if step.round else self.step_span(step)

    def inside(self, step: OpenStep) -> str:
        """The span that contains what the step does now: its attempt, else the step."""
        running = step.view.attempt
        return self.step_span(step) if running is None else self.attempt_span(step.key, running.attempt)

    def make(
        self,
        span: str,
        parent: str,
        name: str,
        start: float,
        end: float,
        known: Mapping[str, Value],
        *,
        links: tuple[SpanLink, ...] = (),
        events: tuple[SpanEvent, ...] = (),
        error: str = "",
        message: str = "",
        client: bool = False,
    ) -> Span:
        """A span in the trace of this task."""
        return make_span(
            self.run, self.trace, span, parent, name, start, end, known,
            links=links, events=events, error=error, message=message, client=client,
        )  # fmt: skip


def make_span(
    run: str,
    trace: str,
    span: str,
    parent: str,
    name: str,
    start: float,
    end: float,
    known: Mapping[str, Value],
    *,
    links: tuple[SpanLink, ...] = (),
    events: tuple[SpanEvent, ...] = (),
    error: str = "",
    message: str = "",
    client: bool = False,
) -> Span:
    """A span with the attributes that all have: the run, and the error."""
    attributes = {at.RUN: run, **known, **({at.ERROR: error} if error else {})}
    return Span(
        trace, span, parent, name, start, max(start, end), attributes, links, events, error, message, client
    )

"""What the view remembers of tasks and steps."""

from __future__ import annotations

from typing import NamedTuple

from agentdeck.errors import Fault
from agentdeck.views.agent_totals import AgentTotals, GraphTotals


class StepView:
    """One step of an open task. `since` is when it last stopped running (at first: when the task opened);
    `until` is when its backoff ends; `reason` and `why` tell what a ready step waits for. `size` is how many
    items an `each` has, -1 for any other step; `seen` how many of them the log has named."""

    __slots__ = (
        "agent", "attempts", "ended", "fault", "key", "letter", "reason", "rejected", "seen", "since", "size",
        "started", "state", "until", "why",
    )  # fmt: skip

    def __init__(self, key: str, agent: AgentTotals, state: str, since: float) -> None:
        self.key = key
        self.agent = agent
        self.state = state
        self.since = since
        self.started: float | None = None
        self.ended: float | None = None
        self.until: float | None = None
        self.attempts = 0
        self.fault: Fault | None = None
        self.reason = self.why = ""
        self.letter = self.rejected = False
        self.size = -1
        self.seen = 0

    @property
    def display_state(self) -> str:
        """Its state as screens tell it: `asking` while a person has to answer, `rejected` where one said no."""
        if self.state == "running" and self.agent.asks:
            return "asking"
        return "rejected" if self.rejected else self.state


class TaskView:
    """A task and those of its steps that the log has told of. `partial`: it was forgotten and opened again, so
    that its other steps are counted already."""

    __slots__ = ("ended", "fault", "graph", "id", "opened", "parent", "partial", "state", "steps")

    def __init__(self, task: str, opened: float, family: GraphTotals, parent: tuple[str, str] | None) -> None:
        self.id = task
        self.opened = opened
        self.graph = family
        self.parent = parent
        self.state = "running"
        self.ended: float | None = None
        self.fault: Fault | None = None
        self.steps: dict[str, StepView] = {}
        self.partial = False

    @property
    def display_state(self) -> str:
        """Its state as screens tell it: `asking` where nothing of it runs, and a person has to answer."""
        states = {step.display_state for step in self.steps.values()} if self.state == "running" else ()
        return "asking" if "asking" in states and "running" not in states else self.state


class TaskRow(NamedTuple):
    """What is left of a task that ended."""

    task: str
    state: str
    opened: float
    ended: float
    attempts: int
    error: str = ""

    @property
    def display_state(self) -> str:
        return self.state


class TimelineEntry(NamedTuple):
    """A line of the timeline: something that an operator would want to have noticed."""

    seq: int
    at: float
    kind: str
    text: str
    task: str = ""
    step: str = ""


class TaskCounts:
    """Counts of the run's own tasks; nested ones are not among them.

    `given` is how many tasks the run was launched with, None where they were not counted. `total` is None until
    no more are opened; then it is how many the run has, with those that were never started. `at_least`: it may
    have had more, as it was cancelled before its source ended.
    """

    __slots__ = ("at_least", "cancelled", "done", "failed", "given", "opened", "total")

    def __init__(self) -> None:
        self.given: int | None = None
        self.total: int | None = None
        self.at_least = False
        self.opened = self.done = self.failed = self.cancelled = 0

    def add(self, state: str, number: int) -> None:
        if state == "done":
            self.done += number
        elif state == "failed":
            self.failed += number
        elif state == "cancelled":
            self.cancelled += number

    @property
    def ended(self) -> int:
        return self.done + self.failed + self.cancelled

    @property
    def never_started(self) -> int | None:
        """How many tasks of a run that opens no more were never opened; None where that is not known."""
        if self.total is None:
            return None if self.given is None else max(0, self.given - self.opened)
        return None if self.at_least else max(0, self.total - self.opened)

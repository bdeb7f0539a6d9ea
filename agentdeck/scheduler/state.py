"""Open tasks and their steps: plain data, held by `RunState` and changed only by the fold of recorded events."""

from __future__ import annotations

from collections.abc import Container

from agentdeck.errors import Fault
from agentdeck.limits.budget import Hold
from agentdeck.scheduler.program import Program, Rule
from agentdeck.scheduler.waits import Wait
from agentdeck.workflow.model import Data

WAITING, READY, RUNNING = "waiting", "ready", "running"
DONE, FAILED, SKIPPED, CANCELLED = "done", "failed", "skipped", "cancelled"
ENDED = frozenset({DONE, FAILED, SKIPPED, CANCELLED})

# Inside the scheduler the states of a step that has not ended are finer. HELD: it waits for a backoff. BETWEEN:
# an attempt has ended, and what follows is not recorded yet. OPEN: something else ends it (its items, a nested
# task, an operator). DEFERRED: it waits for something outside the run, such as the holder of its `once` key.
HELD, BETWEEN, OPEN, DEFERRED = "held", "between", "open", "deferred"


class AllTasks(Container[str]):
    """Contains every task id: a fold that is given it keeps all tasks that have ended."""

    def __contains__(self, item: object) -> bool:
        return True


def root_of(task: str) -> str:
    """The id of the run's own task that contains this one: `3` of `3/review`."""
    return task.partition("/")[0]


def call_id(task: str, step: str, attempt: int, number: int) -> str:
    """The id of a call that an attempt makes: `3/write[1.7]`, from which its agent is known as from an item."""
    return f"{task}/{step}[{attempt}.{number}]"


class Step:
    """One agent's work on one task, or one item of it (`item` ≥ 0, `group` is its parent).

    `arrived`, `absent`, `tolerated` and `broken` count the needs that ended well, were skipped, failed but are
    tolerated, and failed. Their sum never exceeds the number of needs. `acting` is the rule that runs: the step's
    own, or its fallback's. `wait` measures the time since the step became ready, `backoff` holds the seconds that
    it waited before that; `wait_reason` is the reason that was recorded last, and since when it applies. `held`
    is what its attempt reserves of the budgets. `calls` are the open tasks that its attempt has called, by id;
    None before the first one. `end_seq` is the number of the event that ended the step last.
    `losses` counts the attempts that its place has lost. Queue entries with a ticket below `valid_from` predate a
    reopening and are stale. `questions` are those of its
    last attempt that have no answer yet, `answers` those that have, by id.
    """

    __slots__ = (
        "absent", "acting", "answers", "arrivals", "arrived", "attempt", "backoff", "broken", "calls", "end_seq",
        "fault", "group", "held", "item", "items", "items_left", "join_since", "key", "letter", "losses",
        "output", "previous", "questions", "ready_at", "round", "rule", "started_at", "state", "task", "tier_up",
        "tolerated", "total_at", "tries", "until", "valid_from", "wait", "wait_reason",
    )  # fmt: skip

    def __init__(self, task: Task, rule: Rule, key: str) -> None:
        self.task = task
        self.rule = rule
        self.acting = rule
        self.key = key
        self.state = WAITING
        self.attempt = self.tries = self.tier_up = self.losses = 0
        self.round = 1
        self.arrived = self.absent = self.tolerated = self.broken = 0
        self.output: Data = None
        self.previous: Data = None
        self.fault: Fault | None = None
        self.ready_at = self.started_at = 0.0
        self.until: float | None = None
        self.join_since: float | None = None
        self.total_at: float | None = None
        self.wait: Wait | None = None
        self.backoff: dict[str, float] | None = None
        self.wait_reason: tuple[str, float] | None = None
        self.held: Hold | None = None
        self.item = -1
        self.group: Step | None = None
        self.items: list[Step] | None = None
        self.arrivals: list[int] | None = None
        self.calls: dict[str, Task] | None = None
        self.items_left = self.end_seq = self.valid_from = 0
        self.letter = False
        self.questions: list[dict[str, Data]] | None = None
        self.answers: dict[str, Data] | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def path(self) -> float:
        """The seconds of the longest way from the start of this step to the end of the run's own task."""
        return self.task.tail - self.rule.remaining

    @property
    def cut_at(self) -> int:
        """The output tokens at which the answer was cut that this attempt asks for again; 0 where none was cut.
        A fallback and a further round start at 0, since they ask for a different answer."""
        return self.fault.cut_at if self.fault is not None and self.tries else 0


class Task:
    """One unit of work in the graph. `left` counts steps that have not ended. `ended` is the final state, empty
    while the task is open. `past` counts, by path, the attempts of steps that were dropped from memory; a nested
    task shares it with the task that contains it. `tail` are the seconds of the longest path that follows
    a nested task. `called` is the only agent that takes part in a call; empty for other tasks."""

    __slots__ = (
        "age", "called", "ended", "extra", "id", "inputs", "left", "parent", "past", "program", "steps", "tail",
    )  # fmt: skip

    def __init__(
        self,
        task: str,
        age: int,
        program: Program,
        inputs: dict[str, Data],
        parent: tuple[str, str] | None,
        past: dict[str, int],
        tail: float = 0.0,
        called: str = "",
    ) -> None:
        self.id = task
        self.age = age
        self.program = program
        self.inputs = inputs
        self.parent = parent
        self.past = past
        self.tail = tail
        self.called = called
        self.steps: list[Step | None] = [
            None if rule.spare or (called and rule.name != called) else Step(self, rule, rule.name)
            for rule in program.rules
        ]
        self.extra: dict[str, Step] = {}
        self.left = 1 if called else program.size
        self.ended = ""

    def step(self, key: str) -> Step | None:
        index = self.program.index.get(key)
        return self.steps[index] if index is not None else self.extra.get(key)

    def at(self, index: int) -> Step:
        """The step of a rule that is not spare."""
        step = self.steps[index]
        assert step is not None
        return step

    def drop_steps(self) -> None:
        """Drop the steps of a task that has ended, with all results. A task and its steps refer to each other:
        large results would stay in memory until the garbage collector runs, which counts objects, not bytes. A
        timer or a queue may still hold a step, so each lets go of its results too."""
        for step in self.steps:
            if step is not None:
                step.output = step.previous = step.questions = step.answers = None
        for item in self.extra.values():
            item.output = item.previous = item.group = item.questions = item.answers = None
        self.inputs = {}
        self.steps.clear()
        self.extra.clear()

    def all_steps(self) -> list[Step]:
        """All steps of the task in order of declaration, then the items of `each`."""
        return [*(step for step in self.steps if step is not None), *self.extra.values()]

"""What the machine remembers of open tasks and their steps."""

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

# Where a step that is not ended stands, finer than its state: HELD is a backoff, BETWEEN is after an attempt and
# before what follows from it, OPEN is a step that waits for others to end it (items, a nested task, a person).
# DEFERRED is a step that waits for something outside the run, as the holder of its `once` key.
HELD, BETWEEN, OPEN, DEFERRED = "held", "between", "open", "deferred"


class AllTasks(Container[str]):
    """Contains every task id: a fold that is given it keeps all tasks that have ended."""

    def __contains__(self, item: object) -> bool:
        return True


def root_of(task: str) -> str:
    """The id of the run's own task that contains this one: `3` of `3/review`."""
    return task.partition("/")[0]


class Step:
    """One agent's work on one task, or one item of it (`item` ≥ 0, `group` its parent).

    `arrived`, `absent`, `tolerated` and `broken` count how its needs ended: well, skipped, failed but tolerated,
    failed. Their sum never exceeds the number of needs. `told` is why it waits, where the log says so, and since
    when; `wait` is how it waited since it became ready, and `waits` a backoff before that. `held` are the tokens
    and dollars that are held for its attempt. `end_seq` is the number of the event that ended it last. A ticket
    below `since` is of a time before it went again: it is worth nothing.
    """

    __slots__ = (
        "absent", "acting", "arrivals", "arrived", "attempt", "broken", "clock", "end_seq", "fault", "group",
        "held", "item", "items", "key", "left", "letter", "output", "previous", "ready_at", "round", "rule",
        "since", "started_at", "state", "task", "tier_up", "told", "tolerated", "total_at", "tries", "until",
        "wait", "waits",
    )  # fmt: skip

    def __init__(self, task: Task, rule: Rule, key: str) -> None:
        self.task = task
        self.rule = rule
        self.acting = rule
        self.key = key
        self.state = WAITING
        self.attempt = self.tries = self.tier_up = 0
        self.round = 1
        self.arrived = self.absent = self.tolerated = self.broken = 0
        self.output: Data = None
        self.previous: Data = None
        self.fault: Fault | None = None
        self.ready_at = self.started_at = 0.0
        self.until: float | None = None
        self.clock: float | None = None
        self.total_at: float | None = None
        self.wait: Wait | None = None
        self.waits: dict[str, float] | None = None
        self.told: tuple[str, float] | None = None
        self.held: Hold | None = None
        self.item = -1
        self.group: Step | None = None
        self.items: list[Step] | None = None
        self.arrivals: list[int] | None = None
        self.left = self.end_seq = self.since = 0
        self.letter = False

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def cut_at(self) -> int:
        """The output tokens at which the answer was cut that is now asked for again; 0 where none was. A fallback
        and a further round begin without: theirs is another answer."""
        return self.fault.cut_at if self.fault is not None and self.tries else 0


class Task:
    """One unit of work in the graph. `left` counts steps not ended, `busy` those that run or could. `ended` is
    how it ended, where it has. `past` counts the attempts of steps that were forgotten since, by path; a nested
    task shares it with the one it is in."""

    __slots__ = ("age", "busy", "ended", "extra", "id", "inputs", "left", "parent", "past", "program", "steps")

    def __init__(
        self,
        task: str,
        age: int,
        program: Program,
        inputs: dict[str, Data],
        parent: tuple[str, str] | None,
        past: dict[str, int],
    ) -> None:
        self.id = task
        self.age = age
        self.program = program
        self.inputs = inputs
        self.parent = parent
        self.past = past
        self.steps: list[Step | None] = [
            None if rule.spare else Step(self, rule, rule.name) for rule in program.rules
        ]
        self.extra: dict[str, Step] = {}
        self.left = program.size
        self.busy = 0
        self.ended = ""

    def step(self, key: str) -> Step | None:
        index = self.program.index.get(key)
        return self.steps[index] if index is not None else self.extra.get(key)

    def at(self, index: int) -> Step:
        """The step of a rule that is not spare."""
        step = self.steps[index]
        assert step is not None
        return step

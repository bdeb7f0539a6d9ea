"""The state of a run: its tasks, counters and limits, and the decisions that are open.

Every change of a step's state is a call of `RunState.move`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from agentdeck.scheduler.budget_accounts import BudgetAccounts
from agentdeck.scheduler.program import Program, Rule
from agentdeck.scheduler.state import WAITING, Step, Task, root_of
from agentdeck.workflow.model import Data

#: The end of a run is near when its work takes each worker so many times its longest path, or less.
NEAR: Final = 2.5
#: More tasks than any run has.
NEVER: Final = 1 << 60


class ClosedPlace(NamedTuple):
    """Since when a place is out of reach, and how that is known."""

    since: float
    why: str


class RunState:
    """What the recorded events of a run add up to.

    `near`: once so many tasks were opened, the end of the run may be near (`Horizon`).

    Tasks that end are dropped, except those named in `keep`: they stay in `closed`, so that their steps can be
    reopened. Invariants after every event: `open_tasks` counts the open tasks of the run itself, without those
    nested in them; `work` are the seconds for which their steps that have
    not ended will hold workers; `running` holds exactly the steps with a live attempt that holds a worker, and
    the calls of such attempts: `calling` counts these.
    """

    def __init__(self, program: Program, *, run: str = "", workers: int = 8, keep: Container[str] = ()) -> None:
        self.program = program
        self.run = run
        self.workers = workers
        self.keep = keep
        self.seq = 0
        self.status = "running"
        self.paused = False
        self.pause_reason = ""
        self.exhausted = False
        self.tasks: dict[str, Task] = {}
        self.closed: dict[str, Task] = {}
        self.running: set[Step] = set()
        self.calling = 0
        #: Attempts that were cancelled and whose threads go on.
        self.held_workers: set[str] = set()
        self.opened = 0
        self.hurried = 0
        self.failed_tasks = 0
        self.cancelled_tasks = 0
        self.open_tasks = 0
        self.given: int | None = None
        self.work = 0.0
        self.near = NEVER
        self.sequential = False
        self.resources = program.shared_resources()
        self.accounts = BudgetAccounts(program.definition.budget)
        self.changed_limits: dict[str, Data] = {}
        #: The places that are out of reach, by name: no attempt starts there.
        self.closed_places: dict[str, ClosedPlace] = {}

    # Reading

    def step(self, task: str, key: str) -> Step:
        """The step that a recorded event is about. It exists, or the log belongs to another workflow."""
        step = self.tasks[task].step(key)
        assert step is not None
        return step

    def find(self, task: str, key: str) -> Step | None:
        """The step of an open task, None where there is no such task or step."""
        found = self.tasks.get(task)
        return found.step(key) if found is not None else None

    def holds(self, task: Task) -> bool:
        """Whether this task is open, and not another one that has its id by now."""
        return self.tasks.get(task.id) is task

    def unended(self) -> Iterator[Step]:
        """The steps of open tasks that have not ended."""
        for task in self.tasks.values():
            for step in task.all_steps():
                if not step.ended:
                    yield step

    @property
    def busy_workers(self) -> int:
        """How many workers are held: by attempts, and by threads that go on after theirs. Such threads leave one
        worker to the run, which could never go on where they do not end."""
        return len(self.running) - self.calling + min(len(self.held_workers), max(0, self.workers - 1))

    def may_start(self, rule: Rule) -> bool:
        """Whether attempts start now. In a run that drains, the calls of its last attempts still do: it would
        wait for these attempts for ever."""
        return not self.paused or (rule.is_call and self.status == "drained")

    def is_closed(self, rule: Rule) -> bool:
        """Whether the place of an agent is out of reach."""
        return bool(self.closed_places) and rule.agent.place in self.closed_places

    @property
    def unopened(self) -> int:
        """How many tasks of the run are still to come, as far as is known."""
        return 0 if self.exhausted or self.given is None else max(0, self.given - self.opened)

    def add_up_work(self) -> None:
        """Set `work`, after the seconds of agents have changed."""
        self.work = sum([step.rule.work for step in self.unended() if step.items is None])

    def look_ahead(self) -> None:
        """Set `near`, after the number of tasks or workers has changed."""
        program, known = self.program, self.opened if self.exhausted else self.given
        if known is None or known < 2:
            self.near = NEVER
        else:
            self.near = known - int(NEAR * self.workers * program.path / max(program.work, 1e-9)) - 1

    def setting(self, name: str) -> tuple[Rule, str]:
        """The rule and field behind a dotted limit name. Raises KeyError where there is none."""
        head, agent, setting = name.split(".")
        fields = {"timeout": "attempt_timeout", "attempts": "attempts", "max_parallel": "limit"}
        if head != "agents":
            raise KeyError(name)
        return self.program.rules[self.program.index[agent]], fields[setting]

    # Changing

    def move(self, step: Step, state: str) -> None:
        """Change a step's state."""
        step.state = state

    def hold_calls(self, rule: Rule) -> None:
        """The `limit` of an agent has changed. One that is held back makes no calls either."""
        nested = self.program.nested.get(rule.name)
        for inner in nested.rules if nested is not None else ():
            if inner.is_call:
                inner.limit = 0 if rule.limit == 0 else None

    def restore(self, tasks: Mapping[str, Task]) -> None:
        """Hold ended tasks in memory, so that their steps can be reopened."""
        self.closed |= {name: task for name, task in tasks.items() if name not in self.tasks}

    def forget(self, but: Container[str] = ()) -> None:
        """Drop ended tasks from now on, except those under `but` and under open tasks."""
        self.keep = ()
        self.closed = {
            name: task
            for name, task in self.closed.items()
            if (root := root_of(name)) in self.tasks or root in but
        }


@dataclass(slots=True, eq=False)
class Pending:
    """Queues that the fold fills and the scheduler empties after every event.

    `unsatisfiable`: steps whose join can no longer be satisfied, with its verdict. `unneeded`: steps that started
    with `rest: cancel`, so that needs which no other step waits for are cancelled. `undecided`: steps whose round
    or last item has ended. `finished`: tasks whose steps have all ended. `recovered`: steps that ended well after
    they had become dead letters.
    """

    unsatisfiable: deque[tuple[Step, str]] = field(default_factory=deque)
    unneeded: deque[Step] = field(default_factory=deque)
    undecided: deque[Step] = field(default_factory=deque)
    finished: deque[Task] = field(default_factory=deque)
    recovered: deque[Step] = field(default_factory=deque)

    def drop_stale(self, state: RunState) -> None:
        """Drop what needs no decision any more."""
        self.unneeded = deque(step for step in self.unneeded if state.holds(step.task))
        self.unsatisfiable = deque(entry for entry in self.unsatisfiable if entry[0].state == WAITING)
        self.undecided = deque(step for step in self.undecided if not step.ended)

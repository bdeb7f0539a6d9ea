"""State changes only when a recorded event is applied, and nothing outside the scheduler assigns to its parts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from inspect import isdatadescriptor
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import agentdeck
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.state import DEFERRED, HELD, READY, RUNNING, AllTasks, Step
from agentdeck.workflow.model import Agent, Budget, Data, Definition, Prompt
from tests.scheduler.driver import Desk, Player, agent, definition, ledgers, refold, snapshot
from tests.scheduler.graphs import Action, actions, graphs, nested, operate, random_plan, randoms

PACKAGE = Path(agentdeck.__file__).parent
#: Modules of the scheduler that decide. They read the state, and change it by recording events.
DECIDING = (
    "scheduler", "commands", "timeouts", "expansion", "reservations", "budget_ladder", "attempts", "failures",
    "cancellation", "starter",
)  # fmt: skip
#: Names under which other packages hold a scheduler or its parts.
HOLDERS = {"machine", "_machine", "scheduler", "_scheduler", "accounts", "rule", "acting", "fold"}


# A fresh fold of the records is in the same state after every event ---------------------------------------------


class Mirrored(Player):
    """A player that applies every record to a second fold, and compares the states after every event."""

    def __init__(self, of: Definition, **options: object) -> None:
        self.mirror = Fold(Program(of, nested=_programs(options)), run="r", workers=4, keep=AllTasks())
        self.mirrored = 0
        super().__init__(of, **options)  # type: ignore[arg-type]

    def send(self, event: ev.Event | ev.Signal) -> None:
        self.mirror.state.workers = self.workers if not self.log else self.mirror.state.workers
        super().send(event)
        for recorded in self.log[self.mirrored :]:
            self.mirror.apply(recorded)
        self.mirrored = len(self.log)
        mine, other = self.scheduler.state, self.mirror.state
        assert whole(mine) == whole(other)
        for task in mine.tasks.values():
            for step in task.all_steps():
                assert differences(step, other.step(task.id, step.key)) == {}, (step.key, step.state)


def _programs(options: dict[str, object]) -> dict[str, Program]:
    below = options.get("nested") or {}
    assert isinstance(below, dict)
    return {name: Program(one) for name, one in below.items()}


def whole(state: RunState) -> dict[str, Data]:
    """The fields of a run, its tasks and its rules. A task that was hurried, ended and was rebuilt comes before
    all that were not, as before, but not in its place among those that were: that is no part of its own
    events."""
    tasks = {
        task.id: [max(task.age, -1), task.inputs, task.parent, task.left, sorted(task.extra)]
        for task in state.tasks.values()
    }
    rules = [
        [rule.live, rule.attempts, rule.attempt_timeout, rule.limit, rule.auto]
        for rule in state.program.all_rules()
    ]
    names = (
        "run", "workers", "seq", "status", "paused", "pause_reason", "exhausted", "opened", "hurried",
        "failed_tasks", "cancelled_tasks", "open_tasks", "sequential", "changed_limits",
    )  # fmt: skip
    fields = {name: getattr(state, name) for name in names}
    return {**fields, "tasks": tasks, "rules": rules, "accounts": ledgers(state.accounts)}


#: Fields that describe the wait in this process and places in its queues, and those that are compared otherwise.
#: `end_seq` of a task that was rebuilt counts the events of that task alone: all of them are on disk.
IGNORED = {
    "wait", "wait_reason", "valid_from", "end_seq", "task", "rule", "group", "items", "acting", "previous",
}  # fmt: skip

#: The fields and properties of a step: compiled classes have no `__slots__`.
FIELDS = [name for name, value in vars(Step).items() if isdatadescriptor(value)]


def differences(step: Step, other: Step) -> dict[str, object]:
    """The fields that differ. A backoff that is over and a deferral that ended are not recorded: the
    step is ready, while the log alone says that it is held or deferred."""
    ignored = set(IGNORED)
    if step.state == READY and other.state in (HELD, DEFERRED):
        ignored |= {"state", "until", "ready_at"}
    if step.state not in (
        READY,
        RUNNING,
        HELD,
    ):  # they are of a wait that is over, perhaps of one after a backoff
        ignored |= {"until", "ready_at"}
    assert step.acting.name == other.acting.name
    pairs = {name: (getattr(step, name), getattr(other, name)) for name in FIELDS if name not in ignored}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@pytest.mark.untraced
@given(
    agents=graphs(),
    tasks=st.integers(1, 4),
    acts=actions(),
    prompts=st.booleans(),
    random=randoms(),
)
def test_a_fresh_fold_of_the_records_has_the_same_state_after_every_event(
    agents: list[Agent], tasks: int, acts: list[Action], prompts: bool, random: Random
) -> None:
    if prompts:
        agents = [replace(a, does=Prompt("?")) if a.does.verb == "python" else a for a in agents]

    budget = Budget(tokens=2000, ladder=((0.5, "reduce"), (0.7, "drop"), (1.0, "ask"))) if prompts else None
    player = Mirrored(
        definition(*agents, budget=budget),
        workers=4,
        tasks=tasks,
        plan=random_plan(random),
        desk=Desk(4) if prompts else None,
        usage=lambda started: ev.Usage(random.randrange(90), 0) if started.model else ev.Usage(),
        nested=nested(agents),
    )
    operate(player, acts, agents)
    for _ in range(400):
        if player.finished or not player.step():
            break
    assert snapshot(refold(player).state) == snapshot(player.mirror.state), (
        "an event changed after it was recorded"
    )


def test_the_comparison_sees_a_change_that_no_event_made() -> None:
    player = Mirrored(definition(agent("a"), agent("b", "a")))
    player.scheduler.state.step("1", "a").tries = 7
    with pytest.raises(AssertionError):
        player.send(ev.Noted(1.0, "a note"))


# By reading the source ------------------------------------------------------------------------------------------


def assigned(tree: ast.AST) -> Iterator[tuple[int, list[str]]]:
    """The line of every assignment to an attribute or item, and the names in it: `a.b.c = 1` gives a, b, c."""
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign | ast.Delete):
            targets = list(node.targets)
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        while targets:
            target = targets.pop()
            if isinstance(target, ast.Tuple | ast.List):
                targets += target.elts
            elif isinstance(target, ast.Attribute | ast.Subscript):
                yield target.lineno, chain(target)


def chain(node: ast.expr) -> list[str]:
    names: list[str] = []
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        if isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        elif isinstance(node, ast.Subscript):
            names.insert(0, "[]")
            node = node.value
        else:
            node = node.func
    return [node.id, *names] if isinstance(node, ast.Name) else names


def outside(*words: str) -> Iterator[tuple[Path, ast.Module]]:
    """The modules of other packages that contain one of these words."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        if not path.is_relative_to(PACKAGE / "scheduler") and any(word in text for word in words):
            yield path, ast.parse(text)


def test_nothing_outside_assigns_to_the_scheduler_or_its_parts() -> None:
    found = []
    for path, tree in outside(*HOLDERS):
        for line, names in assigned(tree):
            if HOLDERS.intersection(names[:-1]):
                found.append(f"{path.relative_to(PACKAGE)}:{line}: {'.'.join(names)}")
    assert found == []


def test_nothing_outside_calls_what_changes_the_state() -> None:
    """Other packages hold a scheduler or its `state`; a `Fold` of their own is theirs."""
    reading = {"step", "find", "holds", "unended", "setting"}
    found = []
    for path, tree in outside("run_state"):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            names = chain(node.func)
            if len(names) > 2 and names[-3] in HOLDERS and names[-2] == "state" and names[-1] not in reading:
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {'.'.join(names)}")
    assert found == []


def test_the_parts_that_decide_assign_to_nothing_but_their_own_fields() -> None:
    found = []
    for name in DECIDING:
        for line, names in assigned(ast.parse((PACKAGE / "scheduler" / f"{name}.py").read_text())):
            own = names[0] == "self" and (len(names) == 2 or names[2:] == ["[]"])
            counter = names == ["step", "acting", "reserving"]  # of requests under way, which no log holds
            if not own and not counter and names != ["clock", "phase"]:
                found.append(f"{name}.py:{line}: {'.'.join(names)}")
    assert found == []


def test_the_state_of_a_step_is_assigned_in_one_place() -> None:
    found = []
    for path in (PACKAGE / "scheduler").glob("*.py"):
        for _, names in assigned(ast.parse(path.read_text())):
            if names[-2:] == ["step", "state"]:
                found.append(path.name)
    assert found == ["run_state.py"]


def test_no_part_reads_a_private_attribute_of_another() -> None:
    found = []
    for path in (PACKAGE / "scheduler").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr):
                if ast.unparse(node.value) == "self":
                    continue
                found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    allowed = ("event._replace", "started._replace", "action._replace", "first.fault._replace")
    assert [one for one in found if not one.endswith(allowed)] == []


def test_no_property_of_the_scheduler_can_be_assigned() -> None:
    scheduler = Scheduler(Program(definition(agent("a"))))
    names = [name for name, value in vars(Scheduler).items() if isdatadescriptor(value) and name[0] != "_"]
    assert "state" in names
    for name in names:
        with pytest.raises(AttributeError):
            setattr(scheduler, name, getattr(scheduler, name))


def test_no_part_inherits_from_another() -> None:
    bases = set()
    for path in (PACKAGE / "scheduler").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases |= {ast.unparse(base) for base in node.bases}
    assert bases == {"NamedTuple", "RuntimeError", "Container[str]"}


def test_actions_are_values() -> None:
    scheduler = Scheduler(Program(definition(agent("a"))), workers=1)
    assert scheduler.handle(ev.RunStarted(0.0, "r", "w", "", {}, {})) == [
        act.Record(ev.RunStarted(0.0, "r", "w", "", {}, {})),
        act.PullTask(),
    ]

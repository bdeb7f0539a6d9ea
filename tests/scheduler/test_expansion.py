"""`when`, `each`, dispatch, rounds and sub-workflows, by themselves."""

from __future__ import annotations

import pytest

from agentdeck.errors import Fault
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.attempts import Attempts
from agentdeck.scheduler.budget_ladder import BudgetLadder
from agentdeck.scheduler.cancellation import Cancellation
from agentdeck.scheduler.expansion import Expansion
from agentdeck.scheduler.failures import Failures
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.recorder import Recorder
from agentdeck.workflow.model import Agent, Dispatch, Join, OnError, Repeat, SubWorkflow
from tests.scheduler.driver import agent, definition
from tests.scheduler.parts import opened, recorded, start, step, succeed


def parts(fold: Fold) -> tuple[Expansion, Recorder]:
    recorder = Recorder(fold)
    cancellation = Cancellation(fold.state, recorder)
    failures = Failures(fold.state, fold.pending, recorder, cancellation)
    ladder = BudgetLadder(fold.state, recorder, cancellation)
    attempts = Attempts(fold.state, fold.queue, fold.clock, recorder, failures, ladder)
    return Expansion(fold.state, fold.queue, recorder, attempts, failures), recorder


def begin(one: Agent, *others: Agent) -> tuple[Fold, list[ev.Event]]:
    """What becomes of the ready step of an agent."""
    fold = opened(one, *others)
    expansion, recorder = parts(fold)
    expansion.begin(step(fold, one.name), 1.0)
    return fold, recorded(recorder)


def test_a_false_when_skips_and_a_true_one_queues() -> None:
    assert begin(agent("a", when="1 > 2"))[1] == [ev.StepSkipped(1.0, "1", "a", "when: 1 > 2 is false")]
    fold, told = begin(agent("a", when="2 > 1"))
    assert told == []
    assert [entry[6].key for entry in fold.queue.heap] == ["a"]


def test_an_expression_that_cannot_be_evaluated_fails_the_step() -> None:
    (failed,) = begin(agent("a", when="1 / 0 > 1"))[1]
    assert isinstance(failed, ev.StepFailed)
    assert failed.fault.kind == "expression"


@pytest.mark.parametrize(
    ("each", "kinds"),
    [
        ("[1, 2]", [ev.StepExpanded]),
        ("[]", [ev.StepExpanded, ev.StepDone]),
        ("inputs.nothing", [ev.StepExpanded, ev.StepDone]),
        ("'text'", [ev.StepFailed]),
    ],
)
def test_each(each: str, kinds: list[type]) -> None:
    assert [type(event) for event in begin(agent("a", each=each))[1]] == kinds


def test_a_dispatch_skips_what_it_does_not_choose() -> None:
    route = Agent("route", Dispatch("1 + 1", {"1": "one", "2": "two"}))
    _, told = begin(route, agent("one", "route"), agent("two", "route"))
    assert [type(event) for event in told] == [ev.StepStarted, ev.StepSucceeded, ev.StepSkipped]
    assert told[1].output == {"value": 2, "chosen": "two"}  # type: ignore[union-attr]
    assert told[2] == ev.StepSkipped(1.0, "1", "one", "route chose two")
    route = Agent("route", Dispatch("3", {"1": "one"}))
    failed = begin(route, agent("one", "route"))[1][1]
    assert isinstance(failed, ev.StepFailed)
    assert failed.fault.message == "no case for 3; there are 1"


@pytest.mark.parametrize(("until", "most", "kind"), [("1 > 2", 3, ev.StepRepeated), ("1 > 2", 1, ev.StepDone),
                                                      ("output == 5", 3, ev.StepDone)])  # fmt: skip
def test_rounds(until: str, most: int, kind: type) -> None:
    fold = opened(agent("a", repeat=Repeat(until, most)))
    expansion, recorder = parts(fold)
    succeed(fold, "a", output=5)
    expansion.proceed(step(fold, "a"), 2.0)
    assert [type(event) for event in recorded(recorder)] == [kind]


def test_a_progressive_join_has_a_round_for_each_arrival() -> None:
    fold = opened(agent("a"), agent("b"), agent("sum", "a", "b", join=Join("progressive")))
    expansion, recorder = parts(fold)
    succeed(fold, "a", "b")
    succeed(fold, "sum")
    expansion.proceed(step(fold, "sum"), 2.0)
    succeed(fold, "sum")
    expansion.proceed(step(fold, "sum"), 3.0)
    assert recorded(recorder) == [ev.StepRepeated(2.0, "1", "sum", 2), ev.StepDone(3.0, "1", "sum")]


@pytest.mark.parametrize(("tolerate", "kind"), [("fail", ev.StepFailed), ("continue", ev.StepDone)])
def test_a_group_ends_once_all_its_items_have(tolerate: str, kind: type) -> None:
    fold = opened(agent("a", each="[1, 2]", on_error=OnError(tolerate)))  # type: ignore[arg-type]
    expansion, recorder = parts(fold)
    fold.apply(ev.StepExpanded(0.0, "1", "a", 2))
    succeed(fold, "a[0]")
    expansion.proceed(step(fold, "a"), 1.0)
    assert recorded(recorder) == []
    fold.apply(ev.StepFailed(1.0, "1", "a[1]", Fault("permanent", "no")))
    expansion.proceed(step(fold, "a"), 1.0)
    assert [type(event) for event in recorded(recorder)] == [kind]


def test_the_end_of_a_nested_task_ends_the_step_that_contains_it() -> None:
    below = Program(definition(agent("x"), name="below"))
    fold = Fold(Program(definition(Agent("sub", SubWorkflow("below.yaml"))), nested={"sub": below}), run="r")
    fold.apply(ev.TaskOpened(0.0, "1", {}))
    expansion, recorder = parts(fold)
    expansion.begin(step(fold, "sub"), 0.0)
    assert isinstance(recorder.actions[-1], act.StartAttempt)
    fold.apply(ev.TaskOpened(0.0, "1/sub", {}, ("1", "sub")))
    succeed(fold, "x", task="1/sub", output="end")
    recorder.start()
    expansion.end_task(fold.state.tasks["1/sub"], 1.0)
    assert recorded(recorder) == [
        ev.TaskEnded(1.0, "1/sub", "done", "end"),
        ev.StepSucceeded(1.0, "1", "sub", 1, "end"),
    ]
    assert step(fold, "sub").ended
    assert "1/sub" not in fold.state.tasks


def test_a_task_fails_with_the_fault_of_the_step_that_failed_by_itself() -> None:
    fold = opened(agent("a"), agent("b", "a"))
    expansion, recorder = parts(fold)
    start(fold, "a")
    fold.apply(ev.StepFailed(1.0, "1", "a", Fault("permanent", "broken")))
    fold.apply(ev.StepFailed(1.0, "1", "b", Fault("needs", "a failed")))
    expansion.end_task(fold.state.tasks["1"], 1.0)
    (ended,) = recorded(recorder)
    assert isinstance(ended, ev.TaskEnded)
    assert (ended.state, ended.fault) == ("failed", Fault("permanent", "a: broken"))

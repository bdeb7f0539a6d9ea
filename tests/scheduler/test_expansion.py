"""`when`, `each`, dispatch, rounds and sub-workflows, by themselves."""

from __future__ import annotations

from dataclasses import replace

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
from tests.scheduler.driver import Plan, Player, agent, definition, refold, snapshot
from tests.scheduler.parts import opened, recorded, start, step, succeed


def parts(fold: Fold) -> tuple[Expansion, Recorder]:
    recorder = Recorder(fold)
    cancellation = Cancellation(fold.state, recorder)
    failures = Failures(fold.state, fold.pending, recorder, cancellation)
    ladder = BudgetLadder(fold.state, recorder, cancellation)
    attempts = Attempts(fold.state, fold.queue, fold.clock, recorder, cancellation, failures, ladder)
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


def large_output() -> tuple[Fold, Expansion, Recorder]:
    """A task whose output is requested from the engine, as the result of `a` is large."""
    of = replace(definition(agent("a"), agent("b")), output="all: ${a}")
    fold = Fold(Program(of), run="r")
    fold.apply(ev.TaskOpened(0.0, "1", {}))
    expansion, recorder = parts(fold)
    succeed(fold, "a", "b", output=list(range(20_000)))
    expansion.end_task(fold.state.tasks["1"], 1.0)
    return fold, expansion, recorder


def test_a_large_output_is_rendered_by_the_engine_before_the_task_ends() -> None:
    fold, expansion, recorder = large_output()
    (request,) = recorder.actions
    assert isinstance(request, act.RenderOutput)
    assert str(request.template.render(request.scope)).startswith("all: [0, 1, 2")
    assert list(expansion.rendering) == ["1"]
    recorder.start()
    expansion.output_rendered(ev.OutputRendered(2.0, request.ask, "1", "text"))
    assert recorded(recorder) == [ev.TaskEnded(2.0, "1", "done", "text")]
    assert not expansion.rendering
    assert not fold.state.tasks


def test_an_output_that_cannot_be_rendered_fails_the_task() -> None:
    _, expansion, recorder = large_output()
    fault = Fault("expression", "output: too long")
    recorder.start()
    expansion.output_rendered(ev.OutputRendered(2.0, 1, "1", None, fault))
    assert recorded(recorder) == [ev.TaskEnded(2.0, "1", "failed", None, fault)]


def test_an_output_that_read_an_earlier_result_of_a_reopened_step_is_dropped() -> None:
    fold, expansion, recorder = large_output()
    fold.apply(ev.StepReopened(1.5, "1", "b", "ada", again={"b": "done"}))
    recorder.start()
    expansion.output_rendered(ev.OutputRendered(2.0, 1, "1", "old"))
    assert recorded(recorder) == []
    succeed(fold, "b", at=3.0)
    expansion.end_task(fold.state.tasks["1"], 3.0)
    fold.apply(ev.StepReopened(3.5, "1", "b", "ada", again={"b": "done"}))
    succeed(fold, "b", at=4.0)
    expansion.end_task(fold.state.tasks["1"], 4.0)
    first, second = (action for action in recorder.actions if isinstance(action, act.RenderOutput))
    recorder.start()
    expansion.output_rendered(ev.OutputRendered(5.0, first.ask, "1", "old"))
    assert recorded(recorder) == []
    expansion.output_rendered(ev.OutputRendered(5.0, second.ask, "1", "new"))
    assert recorded(recorder) == [ev.TaskEnded(5.0, "1", "done", "new")]


def test_a_run_drains_and_resumes_around_the_rendering_of_an_output() -> None:
    of = replace(definition(agent("a")), output="all: ${a}")
    player = Player(of, workers=1, tasks=3, plan=lambda started: (1.0, list(range(20_000))), renders=5.0)
    player.at(1.5, ev.RunDrained(1.5))
    assert player.play().finished == "drained"
    assert [ended.at for ended in player.of(ev.TaskEnded)] == [6.0, 7.0]
    player = Player(of, plan=lambda started: (1.0, list(range(20_000))), renders=5.0)
    player.crashes = [3.0]
    assert player.play().finished == "done"
    (ended,) = player.of(ev.TaskEnded)
    assert ended.at == 8.0


@pytest.mark.parametrize(
    ("event", "ends"),
    [
        (ev.CancelAsked(3.0, "1", "sub"), [(3.0, "1/sub", "cancelled"), (3.0, "1", "cancelled")]),
        (
            ev.StepReopened(3.0, "1", "first", "ada"),
            [(3.0, "1/sub", "cancelled"), (10.0, "1/sub", "done"), (10.0, "1", "done")],
        ),
    ],
)
def test_a_nested_task_ends_with_its_step_while_its_output_is_rendered(
    event: ev.Event | ev.Signal, ends: list[tuple[float, str, str]]
) -> None:
    below = replace(definition(agent("x"), name="below"), output="all: ${x}")
    of = definition(agent("first"), Agent("sub", SubWorkflow("below.yaml"), needs=("first",)))
    plan: Plan = lambda started: (1.0, list(range(20_000)))  # noqa: E731
    player = Player(of, plan=plan, nested={"sub": below}, renders=5.0)
    player.at(3.0, event)
    player.play()
    assert [(e.at, e.task, e.state) for e in player.log if isinstance(e, ev.TaskEnded)] == ends
    assert snapshot(player.scheduler.state) == snapshot(refold(player).state)

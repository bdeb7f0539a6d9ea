"""Steps that go again: what goes with them, what stays, and what the log says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.program import Program
from agentdeck.workflow.model import Agent, Dispatch, Join, OnError, Repeat, Retry, SubWorkflow
from tests.scheduler.driver import Desk, Plan, Player, agent, definition, prompt, refold, snapshot

BROKEN = Fault("permanent", "broken")


class Broken:
    """Steps that fail until they are mended."""

    def __init__(self, *steps: str) -> None:
        self.steps = set(steps)

    def plan(self, started: ev.StepStarted) -> tuple[float, object]:
        names = {started.step, f"{started.task}:{started.step}", started.agent}
        return 1.0, BROKEN if names & self.steps else f"{started.step}#{started.attempt}"


def starts(player: Player, task: str = "1", since: int = 0) -> list[str]:
    """Which steps started, with their attempts, in order."""
    return [
        f"{e.step}#{e.attempt}" for e in player.log[since:] if isinstance(e, ev.StepStarted) and e.task == task
    ]


def same(player: Player) -> None:
    """The log folds to the state that the scheduler has."""
    mine, folded = snapshot(player.scheduler.state), snapshot(refold(player).state)
    assert mine == folded


def order() -> list[Agent]:
    return [
        agent("extract"),
        agent("payment", "extract"),
        agent("shipping", "extract"),
        agent("confirm", "payment", "shipping"),
    ]


def test_a_failed_step_goes_again_with_what_depended_on_it_and_nothing_else() -> None:
    broken = Broken("payment")
    player = Player(definition(*order()), plan=broken.plan).play()
    assert player.finished == "failed"
    assert player.letters == {("1", "payment")}
    broken.steps.clear()
    seen = len(player.log)
    player.retry(("1", "payment")).play()
    assert player.finished == "done"
    assert starts(player, since=seen) == ["payment#2", "confirm#1"]
    assert player.letters == set()
    assert player.scheduler.state.failed_tasks == 0
    same(player)


def test_it_may_fail_again_and_is_one_letter_still() -> None:
    player = Player(definition(*order()), plan=Broken("payment").plan).play()
    player.retry(("1", "payment")).play()
    assert player.finished == "failed"
    assert player.letters == {("1", "payment")}
    assert player.scheduler.state.failed_tasks == 1
    same(player)


def test_tries_start_anew_and_attempts_go_on_counting() -> None:
    flaky = Fault("exception", "flaky")
    player = Player(
        definition(agent("a", retry=Retry(3, delay=0.0))), plan=lambda s: (1.0, flaky if s.attempt < 6 else 1)
    ).play()
    assert player.finished == "failed"
    player.retry(("1", "a")).play()
    assert player.finished == "done"
    assert starts(player) == [f"a#{n}" for n in range(1, 7)]


def test_a_step_that_was_done_goes_again_with_everything_after_it() -> None:
    player = Player(definition(*order()), plan=Broken().plan).play()
    seen = len(player.log)
    player.retry(("1", "extract")).play()
    assert starts(player, since=seen) == ["extract#2", "payment#2", "shipping#2", "confirm#2"]
    assert player.finished == "done"
    same(player)


def test_a_task_that_is_open_still() -> None:
    broken = Broken("payment")
    slow: Plan = lambda s: (9.0, 1) if s.step == "shipping" else broken.plan(s)  # noqa: E731
    player = Player(definition(*order()), plan=slow)
    while not player.letters:
        player.step()
    broken.steps.clear()
    player.send(ev.StepReopened(player.now, "1", "payment", "ada"))
    player.play()
    assert player.finished == "done"
    assert player.now == 11.0  # extract, shipping, confirm: the payment went again beside it
    assert starts(player).count("shipping#1") == 1


def test_a_group_that_failed_fast_goes_again_whole() -> None:
    broken = Broken("a")
    graph = [agent("src"), agent("a"), agent("b", "src"), agent("c", "a", "b", join=Join(rest="cancel"))]
    player = Player(
        definition(*graph), plan=lambda started: (5.0 if started.step == "src" else 1.0, broken.plan(started)[1])
    ).play()
    assert player.states() == {"a": "failed", "c": "failed", "b": "cancelled", "src": "cancelled"}
    broken.steps.clear()
    player.retry(("1", "a")).play()
    assert player.finished == "done"
    assert player.states() == dict.fromkeys(["src", "a", "b", "c"], "done")
    same(player)


def test_what_runs_below_is_cancelled_first() -> None:
    graph = [agent("a", on_error=OnError("continue"), retry=Retry(1)), agent("b", "a")]
    broken = Broken("a")
    player = Player(definition(*graph), plan=broken.plan)
    while "b#1" not in starts(player):
        player.step()
    broken.steps.clear()
    player.send(ev.StepReopened(player.now, "1", "a", "ada"))
    assert [(c.step, c.attempt) for c in player.cancels] == [("b", 1)]
    player.play()
    assert starts(player) == ["a#1", "b#1", "a#2", "b#2"]
    assert player.finished == "done"
    same(player)


def test_inputs_are_laid_over_those_of_the_task() -> None:
    player = Player(definition(agent("a")), plan=Broken("a").plan).play()
    player.retry(("1", "a"), inputs={"x": 5})
    assert player.scheduler.state.tasks["1"].inputs == {"n": 1, "x": 5}
    assert refold(player).state.tasks["1"].inputs == {"n": 1, "x": 5}


def test_one_item_of_an_each() -> None:
    graph = [agent("notes", each="[1, 2, 3]", retry=Retry(1)), agent("sum", "notes")]
    broken = Broken("notes[1]")
    player = Player(definition(*graph), plan=broken.plan).play()
    assert player.finished == "failed"
    broken.steps.clear()
    seen = len(player.log)
    player.retry(("1", "notes[1]")).play()
    assert starts(player, since=seen) == ["notes[1]#2", "sum#1"]
    assert player.finished == "done"
    assert player.letters == set()
    same(player)


def test_an_each_that_depended_on_it_expands_again_and_its_attempts_go_on() -> None:
    graph = [agent("list"), agent("notes", "list", each="list", retry=Retry(1))]
    broken = Broken("notes[0]")

    def plan(started: ev.StepStarted) -> tuple[float, object]:
        if started.step == "list":
            return 1.0, [1, 2] if started.attempt == 1 else [1, 2, 3]
        return broken.plan(started)

    player = Player(definition(*graph), plan=plan).play()
    broken.steps.clear()
    seen = len(player.log)
    player.retry(("1", "list")).play()
    assert starts(player, since=seen) == ["list#2", "notes[0]#2", "notes[1]#2", "notes[2]#1"]
    assert player.letters == set(), "the letter of an item is closed by its group"
    same(player)


def nested() -> tuple[Player, Broken]:
    below = definition(agent("x"), agent("y", "x"), name="below")
    graph = [agent("a"), Agent("sub", SubWorkflow("below.yaml"), needs=("a",)), agent("after", "sub")]
    broken = Broken("1/sub:y")
    return Player(definition(*graph), plan=broken.plan, nested={"sub": below}).play(), broken


def test_a_step_of_a_nested_task_opens_those_above_it() -> None:
    player, broken = nested()
    assert player.finished == "failed"
    assert player.letters == {("1/sub", "y")}
    broken.steps.clear()
    seen = len(player.log)
    player.retry(("1/sub", "y")).play()
    assert player.finished == "done"
    assert starts(player, "1/sub", seen) == ["y#2"]
    assert starts(player, "1", seen) == ["after#1"]
    assert player.letters == set()
    same(player)


def test_a_nested_task_begins_again_when_its_step_does() -> None:
    player, broken = nested()
    broken.steps.clear()
    seen = len(player.log)
    player.retry(("1", "a")).play()
    assert starts(player, "1", seen) == ["a#2", "sub#2", "after#1"]
    assert starts(player, "1/sub", seen) == ["x#2", "y#2"]
    assert player.letters == set(), "the letter of a nested step is closed by the step above it"
    same(player)


def test_a_fallback_gives_the_work_back() -> None:
    graph = [
        agent("a", on_error=OnError(fallback="spare"), retry=Retry(1)),
        agent("spare", spare=True, retry=Retry(1)),
    ]
    broken = Broken("a", "spare")
    player = Player(definition(*graph), plan=broken.plan).play()
    assert player.finished == "failed"
    broken.steps.clear()
    player.retry(("1", "a")).play()
    doers = [e.agent for e in player.log if isinstance(e, ev.StepStarted)]
    assert doers == ["a", "spare", "a"]
    same(player)


def test_a_dispatch_that_stands_keeps_its_choice() -> None:
    graph = [
        agent("kind"),
        Agent("choose", Dispatch("kind", {"left": "left", "right": "right"}), needs=("kind",)),
        agent("other"),
        agent("left", "choose", "other"),
        agent("right", "choose", "other"),
    ]
    answer = "left"

    def plan(started: ev.StepStarted) -> tuple[float, object]:
        return 1.0, answer if started.step == "kind" else 1

    player = Player(definition(*graph), plan=plan).play()
    seen = len(player.log)
    player.retry(("1", "other")).play()
    assert starts(player, since=seen) == ["other#2", "left#2"]
    answer = "right"
    seen = len(player.log)
    player.retry(("1", "kind")).play()
    assert starts(player, since=seen) == ["kind#2", "choose#2", "right#1"]
    same(player)


def test_what_was_not_chosen_cannot_be_asked_for() -> None:
    graph = [Agent("choose", Dispatch("'left'", {"left": "left", "right": "right"})), agent("left", "choose"),
             agent("right", "choose")]  # fmt: skip
    player = Player(definition(*graph)).play()
    seen = len(player.log)
    player.retry(("1", "right"))
    assert [type(e) for e in player.log[seen:]] == [ev.RunResumed, ev.RunEnded]


def test_a_quorum_counts_anew() -> None:
    graph = [*[agent(f"r{i}") for i in range(3)], agent("join", "r0", "r1", "r2", join=Join("quorum", 3))]
    broken = Broken("r1")
    player = Player(definition(*graph), plan=broken.plan).play()
    assert player.finished == "failed"
    broken.steps.clear()
    player.retry(("1", "r1"))
    step = player.scheduler.state.tasks["1"].step("join")
    assert step is not None
    assert (step.arrived, step.broken, step.state) == (2, 0, "waiting")
    player.play()
    assert player.finished == "done"
    same(player)


def test_rounds_begin_again() -> None:
    graph = [agent("a"), agent("draft", "a", repeat=Repeat("false", 3))]
    player = Player(definition(*graph), plan=Broken().plan).play()
    seen = len(player.log)
    player.retry(("1", "draft")).play()
    assert starts(player, since=seen) == ["draft#4", "draft#5", "draft#6"]
    assert [e.round for e in player.log[seen:] if isinstance(e, ev.StepStarted)] == [1, 2, 3]


def test_a_progressive_join_goes_through_its_arrivals_again() -> None:
    graph = [agent("a"), agent("b"), agent("sum", "a", "b", join=Join("progressive"))]
    player = Player(definition(*graph), plan=Broken().plan).play()
    seen = len(player.log)
    player.retry(("1", "sum")).play()
    assert starts(player, since=seen) == ["sum#3", "sum#4"]
    same(player)


@pytest.mark.parametrize("task", ["1", "7"])
def test_what_cannot_go_again_changes_nothing(task: str) -> None:
    player = Player(definition(*order()), plan=Broken().plan)
    player.send(ev.StepReopened(0.0, task, "extract"))
    assert not player.of(ev.StepReopened)


def test_a_run_that_nobody_retries_keeps_no_ended_task() -> None:
    player = Player(definition(*order()), tasks=50, plan=Broken("payment").plan).play()
    assert player.scheduler.state.closed == {}
    fold = Fold(Program(player.definition), keep={"3"})
    for event in player.log:
        fold.apply(event)
    assert set(fold.state.closed) == {"3"}


def test_steps_inside_and_outside_of_one_that_goes_again_are_asked_for_at_once() -> None:
    below = definition(agent("x"), agent("y", on_error=OnError("continue")), name="below")
    sub = Agent("sub", SubWorkflow("below.yaml"), needs=("a",), join=Join("any"))
    broken = Broken("a", "x", "y")
    graph = definition(agent("a"), agent("b"), replace(sub, needs=("a", "b")))
    player = Player(graph, plan=broken.plan, nested={"sub": below}).play()
    assert player.finished == "failed"
    broken.steps.clear()
    player.retry(("1/sub", "y"), ("1", "a"), ("1/sub", "x")).play()
    assert player.finished == "done"
    same(player)


def test_one_that_goes_again_waits_for_a_need_that_goes_again_with_it() -> None:
    graph = definition(agent("a"), agent("b", "a"), agent("c", "a", "b", join=Join("all", rest="cancel")))
    player = Player(graph, tasks=1, plan=Broken().plan)
    player.at(1.5, ev.CancelAsked(1.5, "1"))
    player.play()
    player.retry(("1", "b")).play()
    assert starts(player) == ["a#1", "b#1", "b#2", "c#1"]


def test_a_place_from_before_it_went_again_starts_nothing() -> None:
    """It was ready and waited for a worker when it was taken back; what it needs is made anew."""
    graph = definition(agent("a"), agent("b", "a"), agent("long"))
    player = Player(
        graph, workers=2, plan=lambda started: (1.0 if started.step == "a" else 9.0, None), commit=0.5
    )
    player.at(1.2, ev.LimitChanged(1.2, "workers", 2, 1))
    player.at(2.0, ev.StepReopened(2.0, "1", "a", "ada"))
    player.at(3.0, ev.LimitChanged(3.0, "workers", 1, 2))
    player.play()
    assert player.starts("a") == [0.0, 3.0]
    assert player.starts("b") == [4.5]


def test_one_that_goes_again_while_it_asked_asks_again() -> None:
    graph = definition(agent("a"), prompt("p", "a"))
    desk = Desk(takes=0.75)
    player = Player(graph, plan=lambda started: (1.0 if started.attempt == 1 else 0.125, None), desk=desk)
    player.at(1.25, ev.StepReopened(1.25, "1", "a", "ada"))
    player.play()
    assert player.starts("a") == [0.0, 1.25]
    assert player.starts("p") == [2.125]
    assert len(desk.gave_back) == 1, "what was reserved for the first time"

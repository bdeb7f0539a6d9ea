"""Why a step waits, was skipped, failed: sentences with the right numbers."""

from __future__ import annotations

from typing import Any

import pytest

from agentdeck.agents.simulate import Simulate
from agentdeck.errors import Fault, UsageError
from agentdeck.insight.why import explain
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Agent, Approve, Definition, Join, Retry, Timeout

NEEDS: dict[str, tuple[str, ...]] = {
    "extract": (),
    "payment": ("extract",),
    "inventory": ("extract",),
    "confirm": ("payment", "inventory"),
}


def order(**changed: Agent) -> Definition:
    agents = {name: Agent(name, Simulate(1.0), needs=needs) for name, needs in NEEDS.items()}
    return Definition("order", {**agents, **changed})


def seen(definition: Definition, *events: ev.Event, workers: int = 4, tasks: int = 1) -> RunView:
    """A run of so many tasks that began at 0, and what happened then."""
    view = RunView(definition)
    begin: list[ev.Event] = [ev.RunStarted(0.0, "r1", "order", "x", {}, {"workers": workers})]
    begin += [ev.TaskOpened(0.0, str(n), {}) for n in range(1, tasks + 1)]
    for seq, event in enumerate([*begin, *events], 1):
        view.apply(seq, event)
    return view


def started(at: float, step: str, task: str = "1", attempt: int = 1) -> ev.StepStarted:
    return ev.StepStarted(at, task, step, step.partition("[")[0], attempt, at)


def done(at: float, step: str, task: str = "1") -> list[ev.Event]:
    return [started(at - 1, step, task), ev.StepSucceeded(at, task, step, 1)]


def failed(at: float, step: str, fault: Fault, attempt: int = 1) -> list[ev.Event]:
    return [started(at - 1, step, attempt=attempt), ev.AttemptFailed(at, "1", step, attempt, fault)]


def why(view: RunView, definition: Definition, task: str, step: str, now: float) -> str:
    return explain(view, definition, task, step, now).text


def test_what_it_needs_and_how_far_that_is() -> None:
    view = seen(
        order(),
        *done(1.0, "extract"),
        *failed(2.5, "inventory", Fault("server", "no stock service")),
        ev.StepRetrying(2.5, "1", "inventory", 6.4),
        started(1.3, "payment"),
    )
    said = why(view, order(), "1", "confirm", 3.4)
    assert said == "waits for payment (running for 2.1 s) and inventory (retry in 3.0 s)"
    said = why(view, order(), "1", "inventory", 3.4)
    assert said == "tries again in 3.0 s (backoff); attempt 1 of 3 failed: server: no stock service"


def test_a_full_pool_and_who_goes_first() -> None:
    definition = order(rush=Agent("rush", Simulate(1.0), priority="high"))
    running = [started(0.0, "extract", str(n)) for n in range(1, 5)]
    view = seen(definition, *running, tasks=8)
    assert (
        why(view, definition, "7", "extract", 14.0)
        == "ready for 14 s; all workers busy (4/4); 10 ahead in the queue"
    )
    assert (
        why(view, definition, "5", "rush", 14.0) == "ready for 14 s; all workers busy (4/4); 4 ahead in the queue"
    )
    view.apply(99, ev.TaskHurried(14.0, "7"))
    assert explain(view, definition, "7", "extract", 14.0).text.endswith("; 8 ahead in the queue"), (
        "only rushes, one per task"
    )
    view.apply(100, ev.LimitChanged(15.0, "workers", 4, 6))
    assert why(view, definition, "7", "extract", 15.0).endswith("workers are free (4/6): it starts next")


def test_long_ways_go_first_within_a_task() -> None:
    definition = Definition(
        "d", {"a": Agent("a", Simulate(1.0)), "b": Agent("b", Simulate(1.0)),
              "c": Agent("c", Simulate(5.0), needs=("b",))}
    )  # fmt: skip
    view = seen(definition, workers=0)
    assert why(view, definition, "1", "a", 2.0).endswith("1 ahead in the queue")
    assert why(view, definition, "1", "b", 2.0).endswith("0 ahead in the queue")


def test_max_parallel() -> None:
    definition = Definition("d", {"notes": Agent("notes", Simulate(1.0), each="inputs.x", max_parallel=2)})
    view = seen(
        definition, ev.StepExpanded(0.0, "1", "notes", 5), started(0.0, "notes[0]"), started(0.0, "notes[1]")
    )
    assert (
        why(view, definition, "1", "notes[4]", 3.0)
        == "ready for 3.0 s; max_parallel of notes reached (2/2); 2 ahead in the queue"
    )
    said = why(view, definition, "1", "notes", 3.0)
    assert said == "running for 3.0 s: of 5 items 2 running, 3 left"


def test_held_back_by_a_limit_of_the_other_side() -> None:
    waited = ev.StepWaited(2.0, "1", "extract", "requests", "openai 80/min: 80 in the last minute; next in 4 s")
    view = seen(order(), waited)
    found = explain(view, order(), "1", "extract", 5.0)
    assert (found.state, found.reason) == ("ready", "requests")
    assert found.text == "ready for 5.0 s; openai 80/min: 80 in the last minute; next in 4 s"


@pytest.mark.parametrize(
    ("join", "arrived", "said"),
    [
        (
            Join("quorum", quorum=2, within=15.0, min=1), 1,
            "1 of 3 arrived, 2 are enough; starts with what has arrived in 12 s",
        ),
        (Join("quorum", quorum=3, within=15.0, min=2), 2, "2 of 3 arrived; starts with what has arrived in 12 s"),
        (Join(within=15.0, min=2), 1, "1 of 3 arrived; fails if fewer than 2 arrive in 12 s"),
        (Join("any"), 0, "waits for the first of a (ready for 3.0 s)"),
        (Join("quorum", quorum=0.5), 1, "1 of 3 arrived, 2 are enough; waits for b"),
    ],
)  # fmt: skip
def test_joins(join: Join, arrived: int, said: str) -> None:
    agents = {name: Agent(name, Simulate(1.0)) for name in "abc"}
    definition = Definition("d", {**agents, "all": Agent("all", Simulate(), needs=("a", "b", "c"), join=join)})
    view = seen(definition, *(event for name in "abc"[:arrived] for event in done(2.0, name)))
    assert why(view, definition, "1", "all", 3.0).startswith(said)


def test_a_join_that_has_enough_is_ready() -> None:
    agents = {name: Agent(name, Simulate(1.0)) for name in "abc"}
    join = Join("quorum", quorum=2)
    definition = Definition("d", {**agents, "all": Agent("all", Simulate(), needs=("a", "b", "c"), join=join)})
    view = seen(definition, *done(2.0, "a"), *done(4.0, "b"), started(0.0, "c"), workers=1)
    assert (
        why(view, definition, "1", "all", 9.0) == "ready for 5.0 s; all workers busy (1/1); 0 ahead in the queue"
    )


def test_paused() -> None:
    view = seen(order(), ev.RunPaused(4.0, "", "ada"))
    assert why(view, order(), "1", "extract", 5.0) == "ready for 5.0 s; the run is paused by ada"
    view = seen(order(), ev.RunPaused(4.0, "store: the disk is full"))
    said = why(view, order(), "1", "extract", 5.0)
    assert said == "ready for 5.0 s; the run is paused: store: the disk is full"
    assert explain(view, order(), "1", "extract", 5.0).reason == "paused"


def test_running_and_its_clock() -> None:
    slow = Agent("extract", Simulate(1.0), timeout=Timeout(attempt=30.0), retry=Retry(5))
    view = seen(order(extract=slow), started(0.0, "extract"))
    said = why(view, order(extract=slow), "1", "extract", 2.0)
    assert said == "running for 2.0 s, attempt 1 of 5; its timeout expires in 28 s"
    view.apply(90, ev.LimitChanged(2.0, "agents.extract.timeout", 30.0, 4.0))
    assert why(view, order(extract=slow), "1", "extract", 2.0).endswith("its timeout expires in 2.0 s")


def test_a_person_is_asked() -> None:
    gate = Agent("extract", Approve("Really?", within=3600.0))
    view = seen(order(extract=gate), started(0.0, "extract"))
    assert (
        why(view, order(extract=gate), "1", "extract", 120.0)
        == "waiting for an approval for 2m00s; rejects automatically in 58m00s"
    )
    assert "extract (waiting for an approval for 2m00s)" in why(view, order(extract=gate), "1", "payment", 120.0)


def test_how_it_ended() -> None:
    late = Fault("timeout", "no answer within 10 s (attempt timeout)", clock="attempt")
    definition = order(side=Agent("side", Simulate(), needs=("extract",), when="extract.x"))
    view = seen(
        definition,
        *done(1.0, "extract"),
        ev.StepSkipped(1.0, "1", "side", "when: extract.x is false"),
        *(e for n in (1, 2, 3) for e in failed(n + 1.0, "payment", late, n)),
        ev.StepFailed(4.0, "1", "payment", late),
        ev.StepFailed(4.0, "1", "confirm", Fault("needs", "payment failed"), letter=False),
        ev.StepCancelled(5.0, "1", "inventory", "cancelled by ada"),
    )
    tell: Any = lambda step: why(view, definition, "1", step, 9.0)  # noqa: E731
    assert tell("extract") == "done in 1.0 s"
    assert tell("side") == "skipped: when: extract.x is false"
    assert tell("payment") == "failed after 3 attempts: no answer within 10 s (attempt timeout)"
    assert tell("confirm") == (
        "failed: payment, which it needs, failed after 3 attempts: no answer within 10 s (attempt timeout)"
    )
    assert tell("inventory") == "cancelled: cancelled by ada"
    view.apply(80, ev.TaskEnded(6.0, "1", "failed"))
    assert tell("payment").startswith("failed after 3"), "a failed task stays whole"


def test_what_is_not_there() -> None:
    with pytest.raises(UsageError, match="there is no step pay; there are extract, payment"):
        why(seen(order()), order(), "1", "pay", 1.0)
    with pytest.raises(UsageError, match="task 9 is not open"):
        why(seen(order()), order(), "9", "extract", 1.0)


def test_time_nobody_ran_it_is_left_out() -> None:
    agents = {"a": Agent("a", Simulate()), "b": Agent("b", Simulate(), needs=("a",))}
    definition = Definition("d", agents)
    view = seen(definition, *done(2.0, "a"), ev.RunResumed(1000.0, 996.0), workers=0)
    assert why(view, definition, "1", "b", 1001.0).startswith("ready for 3.0 s;")


def test_a_step_that_waits_for_pace_says_when_it_goes() -> None:
    text = "openai: requests 30/min burst 2"
    waits = [ev.StepWaited(1.0, str(task), "extract", "pace", text) for task in (1, 2, 3)]
    view = seen(order(), *waits, tasks=3)
    view.limits["openai.requests"] = "30/min burst 2"
    found = explain(view, order(), "3", "extract", 4.0)
    assert (found.state, found.reason) == ("ready", "pace")
    assert found.text == f"ready for 4.0 s; {text}, one every 2.0 s; 2 before it, so it goes within 6.0 s"
    assert explain(view, order(), "1", "extract", 4.0).text.endswith("; 0 before it, so it goes within 2.0 s")


def test_calls_through_the_gateway_that_wait() -> None:
    calls = [ev.TaskOpened(1.0, f"1/extract[1.{n}]", {}, ("1", "extract"), "execution") for n in (1, 2)]
    view = seen(order(), started(0.0, "extract"), *calls)
    first, second = (f"1/extract[1.{n}]" for n in (1, 2))
    view.apply(90, started(1.0, "execution", first))
    view.apply(91, ev.StepWaited(1.0, second, "execution", "requests", "p: all used up"))
    said = "; 1 of its 2 calls of models wait: p: all used up"
    assert said in why(view, order(), "1", "extract", 2.0)
    view.apply(92, started(2.0, "execution", second))
    assert "; it waits for 2 answers of models" in why(view, order(), "1", "extract", 3.0)
    assert why(view, order(), second, "execution", 4.0).startswith("running for 2.0 s, attempt 1")

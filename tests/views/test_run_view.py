"""The view is a fold: what it shows follows from the events alone, and what ended leaves memory."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdeck.agents.python import Python
from agentdeck.agents.simulate import Simulate
from agentdeck.errors import Fault
from agentdeck.insight.summary import summary
from agentdeck.scheduler import events as ev
from agentdeck.views.agent_totals import EXACT, Durations
from agentdeck.views.run_timeline import KEPT_ENTRIES
from agentdeck.views.run_view import RunView
from agentdeck.views.task_outcome import TaskOutcomes
from agentdeck.views.task_view import KEPT_FAILED, RECENT
from agentdeck.views.view_snapshot import restored_view, snapshot_of
from agentdeck.workflow.model import Agent, Approve, Definition, Join, OnError, Repeat, SubWorkflow
from tests.scheduler.test_calls import Calling

BOOM = Fault("exception", "boom")


def order() -> Definition:
    needs = {
        "extract": (),
        "payment": ("extract",),
        "inventory": ("extract",),
        "shipping": ("extract",),
        "confirm": ("payment", "inventory", "shipping"),
    }
    return Definition("order", {name: Agent(name, Python(f"shop:{name}"), needs=n) for name, n in needs.items()})


def chain(*agents: Agent) -> Definition:
    return Definition("chain", {agent.name: agent for agent in agents})


def started(*events: ev.Event, definition: Definition | None = None) -> RunView:
    view = RunView(definition)
    first: list[ev.Event] = [
        ev.RunStarted(0.0, "r1", "order", "abc", {}, {"workers": 4}),
        ev.TaskOpened(0.0, "1", {}),
    ]
    fold(view, [*first, *events])
    return view


def fold(view: RunView, events: Iterable[ev.Event]) -> RunView:
    for event in events:
        view.apply(view.seq + 1, event)
    return view


def attempt(at: float, step: str, seconds: float, task: str = "1", ready: float | None = None) -> list[ev.Event]:
    return [
        ev.StepStarted(at, task, step, step.partition("[")[0], 1, at if ready is None else ready),
        ev.StepSucceeded(at + seconds, task, step, 1, {"ok": True}),
    ]


def test_steps_that_were_not_told_of_wait() -> None:
    view = started(*attempt(0.0, "extract", 2.0), definition=order())
    assert view.steps()["waiting"] == 4
    assert view.steps()["done"] == 1
    fold(view, [ev.StepStarted(2.0, "1", "payment", "payment", 1, 2.0)])
    assert view.agents["payment"].steps["running"] == 1
    assert ("1", "payment") in view.running
    assert view.steps()["waiting"] == 3


def test_a_whole_task_ends_with_nothing_left_open() -> None:
    view = started(definition=order())
    for i, name in enumerate(order().agents):
        fold(view, attempt(float(i), name, 0.5))
    fold(view, [ev.TaskEnded(5.0, "1", "done", {"id": 7}), ev.TasksExhausted(5.0, 1), ev.RunEnded(5.0, "done")])
    assert view.state == "done"
    assert view.seconds == 5.0
    assert view.output == {"id": 7}
    assert (view.tasks.total, view.tasks.done, view.open, view.running) == (1, 1, {}, {})
    assert view.steps() == {**dict.fromkeys(view.steps(), 0), "done": 5}


def test_waiting_is_shared_among_its_reasons() -> None:
    view = started(
        ev.StepStarted(9.0, "1", "a", "a", 1, 4.0, {"requests": 3.0}), definition=chain(Agent("a", Python("m:a")))
    )
    assert view.agents["a"].waiting == {"needs": 4.0, "requests": 3.0, "pool": 2.0}


def test_a_backoff_is_counted_once_and_apart_from_the_pool() -> None:
    view = started(
        ev.StepStarted(1.0, "1", "a", "a", 1, 1.0),
        ev.AttemptFailed(2.0, "1", "a", 1, BOOM),
        ev.StepRetrying(2.0, "1", "a", 5.0),
        definition=chain(Agent("a", Python("m:a"))),
    )
    assert view.agents["a"].steps["ready"] == 1
    assert view.open["1"].steps["a"].reason == "backoff"
    fold(view, [ev.StepStarted(6.0, "1", "a", "a", 2, 5.0, {"backoff": 3.0}), ev.StepSucceeded(8.0, "1", "a", 2)])
    tally = view.agents["a"]
    assert tally.waiting == {"needs": 1.0, "backoff": 3.0, "pool": 1.0}
    assert (tally.attempts, tally.failed_attempts, tally.busy) == (2, 1, 3.0)
    assert [moment.kind for moment in view.timeline] == ["failure", "retry"]


def test_a_retry_cut_short_waited_only_until_then() -> None:
    view = started(
        *attempt(0.0, "b", 1.0),
        ev.StepStarted(0.0, "1", "a", "a", 1, 0.0),
        ev.AttemptFailed(1.0, "1", "a", 1, BOOM),
        ev.StepRetrying(1.0, "1", "a", 60.0, "cooldown"),
        ev.StepCancelled(3.0, "1", "a"),
    )
    assert view.agents["a"].waiting == {"cooldown": 2.0}


def test_a_fallbacks_attempts_are_its_own_and_its_steps_are_not() -> None:
    style = Agent("style", Python("m:style"), on_error=OnError(fallback="linter"))
    view = started(
        ev.StepStarted(0.0, "1", "style", "style", 1, 0.0),
        ev.AttemptFailed(1.0, "1", "style", 1, BOOM),
        ev.StepFellBack(1.0, "1", "style", "linter"),
        ev.StepStarted(1.0, "1", "style", "linter", 2, 1.0),
        ev.StepSucceeded(3.0, "1", "style", 2),
        definition=chain(style, Agent("linter", Python("m:lint"), spare=True)),
    )
    assert view.agents["style"].steps["done"] == 1
    assert sum(view.agents["linter"].steps.values()) == 0
    assert (view.agents["style"].attempts, view.agents["linter"].attempts) == (1, 1)
    assert view.agents["linter"].durations.mean == 2.0


def test_items_are_counted_and_their_group_is_not() -> None:
    definition = chain(Agent("notes", Python("m:n"), each="inputs.files"))
    view = started(ev.StepExpanded(0.0, "1", "notes", 3), definition=definition)
    assert view.agents["notes"].steps["ready"] == 3
    assert view.agents["notes"].steps["waiting"] == 0
    fold(view, attempt(0.0, "notes[0]", 1.0) + attempt(0.0, "notes[2]", 1.0))
    assert view.agents["notes"].steps["ready"] == 1
    fold(view, [*attempt(1.0, "notes[1]", 1.0), ev.StepDone(2.0, "1", "notes"), ev.TaskEnded(2.0, "1", "done")])
    assert view.agents["notes"].steps == {**dict.fromkeys(view.steps(), 0), "done": 3}


def test_items_that_never_ran_end_with_their_task() -> None:
    view = started(
        ev.StepExpanded(0.0, "1", "notes", 5),
        *attempt(0.0, "notes[0]", 1.0),
        ev.TaskEnded(2.0, "1", "cancelled"),
        definition=chain(Agent("notes", Python("m:n"), each="inputs.files")),
    )
    assert view.agents["notes"].steps == {**dict.fromkeys(view.steps(), 0), "done": 1, "cancelled": 4}


def test_an_each_over_nothing_is_one_step() -> None:
    view = started(
        ev.StepExpanded(0.0, "1", "notes", 0),
        ev.StepDone(0.0, "1", "notes"),
        definition=chain(Agent("notes", Python("m:n"), each="inputs.files")),
    )
    assert view.agents["notes"].steps["done"] == 1


def test_nested_steps_are_counted_under_the_step_they_belong_to() -> None:
    view = started(
        ev.StepStarted(0.0, "1", "review", "review", 1, 0.0),
        ev.TaskOpened(0.0, "1/review", {}, ("1", "review")),
        ev.StepStarted(0.0, "1/review", "security", "security", 1, 0.0),
        ev.StepSucceeded(2.0, "1/review", "security", 1),
        ev.TaskEnded(2.0, "1/review", "done", 5),
        ev.StepSucceeded(2.0, "1", "review", 1, 5),
        definition=chain(Agent("review", SubWorkflow("review.yaml"))),
    )
    assert list(view.agents) == ["review", "review/security"]
    assert view.agents["review/security"].steps["done"] == 1
    assert view.tasks.opened == 1
    assert view.tasks.done == 0
    assert not view.agents["review"].uses_worker
    assert summary(view).sequential_seconds == 2.0


def test_an_answer_ends_an_approval_and_the_wait_has_a_name() -> None:
    view = started(
        ev.StepStarted(1.0, "1", "ask", "ask", 1, 1.0),
        ev.StepAnswered(61.0, "1", "ask", True, {}, "ada"),
        definition=chain(Agent("ask", Approve("Sure?"))),
    )
    assert view.agents["ask"].steps["done"] == 1
    assert view.agents["ask"].waiting["approval"] == 60.0
    assert view.running == {}


@pytest.mark.parametrize(
    "agent",
    [Agent("a", Python("m:a"), repeat=Repeat("true")), Agent("a", Python("m:a"), join=Join("progressive"))],
)
def test_only_the_last_round_ends_a_step(agent: Agent) -> None:
    view = started(*attempt(0.0, "a", 1.0), definition=chain(agent))
    assert view.steps()["done"] == 0
    fold(view, [ev.StepRepeated(1.0, "1", "a", 2), *attempt(1.0, "a", 1.0), ev.StepDone(2.0, "1", "a")])
    assert view.steps()["done"] == 1
    assert view.agents["a"].attempts == 2


def test_of_two_attempts_the_other_one_goes_on() -> None:
    view = started(
        ev.StepStarted(0.0, "1", "a", "a", 1, 0.0),
        ev.StepStarted(5.0, "1", "a", "a", 2, 5.0),
        ev.AttemptFailed(6.0, "1", "a", 1, BOOM),
    )
    assert view.running[("1", "a")].attempt == 2
    assert view.agents["a"].steps["running"] == 1
    fold(view, [ev.StepSucceeded(7.0, "1", "a", 2)])
    assert view.running == {}
    assert view.agents["a"].busy == 8.0


def test_a_letter_is_closed_by_success_and_the_counts_go_back() -> None:
    view = started(
        ev.StepStarted(0.0, "1", "extract", "extract", 1, 0.0),
        ev.AttemptFailed(1.0, "1", "extract", 1, BOOM),
        ev.StepFailed(1.0, "1", "extract", BOOM),
        *[
            ev.StepFailed(1.0, "1", n, Fault("needs", "extract failed"), letter=False)
            for n in list(order().agents)[1:]
        ],
        ev.TaskEnded(1.0, "1", "failed", None, BOOM),
        ev.RunEnded(1.0, "failed"),
        definition=order(),
    )
    assert (view.letters, view.tasks.failed, view.state) == (1, 1, "failed")
    assert {name: tally.blocked for name, tally in view.agents.items()} == {
        **dict.fromkeys(order().agents, 1),
        "extract": 0,
    }
    again = dict.fromkeys(order().agents, "failed")
    fold(view, [ev.StepReopened(2.0, "1", "extract", "ada", None, "failed", again)])
    assert (view.tasks.failed, view.state, view.steps()["waiting"]) == (0, "running", 5)
    assert not any(tally.blocked for tally in view.agents.values())
    for i, name in enumerate(order().agents):
        fold(view, attempt(3.0 + i, name, 1.0))
    fold(view, [ev.TaskEnded(9.0, "1", "done", 1), ev.RunEnded(9.0, "done")])
    assert (view.letters, view.tasks.done, view.tasks.failed) == (0, 1, 0)
    assert view.steps() == {**dict.fromkeys(view.steps(), 0), "done": 5}


def test_a_price_that_is_not_known_is_never_nothing() -> None:
    used = [ev.Usage(10, 5, usd=0.5), ev.Usage(10, 5)]
    view = started(
        *[
            event
            for i, usage in enumerate(used)
            for event in (
                ev.StepStarted(0.0, "1", f"a[{i}]", "a", 1, 0.0),
                ev.StepSucceeded(1.0, "1", f"a[{i}]", 1, None, usage),
            )
        ]
    )
    assert view.agents["a"].tokens_in == 20
    assert view.agents["a"].cost is None
    assert view.usd is None


def test_nobodys_time_is_not_the_runs_time() -> None:
    view = started(
        ev.StepStarted(1.0, "1", "a", "a", 1, 0.0),
        ev.RunResumed(101.0, 99.0),
        ev.AttemptLost(101.0, "1", "a", 1),
        ev.StepStarted(101.0, "1", "a", "a", 2, 101.0),
        ev.StepSucceeded(103.0, "1", "a", 2),
    )
    assert view.seconds == 4.0
    assert view.agents["a"].waiting == {"pool": 1.0}
    assert view.agents["a"].busy == 2.0


def test_simulated_is_said() -> None:
    assert RunView(chain(Agent("a", Simulate()))).simulated
    usage = ev.Usage(1, 1, usd=0.0, simulated=True)
    view = started(ev.StepStarted(0.0, "1", "a", "a", 1, 0.0), ev.StepSucceeded(1.0, "1", "a", 1, None, usage))
    assert view.simulated


def test_what_ended_leaves_memory() -> None:
    view = RunView(order())
    fold(view, [ev.RunStarted(0.0, "r", "order", "x", {}, {})])

    def push(count: int) -> int:
        for i in range(count):
            task = f"{view.tasks.opened}"
            fold(view, [ev.TaskOpened(float(i), task, {})])
            for name in order().agents:
                fold(view, attempt(float(i), name, 0.001 * (1 + i % 500), task))
            state = "failed" if i % 2 else "done"
            fold(view, [ev.TaskEnded(float(i), task, state, None, BOOM if i % 2 else None)])
        return len(view.open) + len(view.running) + len(view.recent) + len(view.failed) + len(view.timeline)

    push(2 * KEPT_FAILED + 10)
    before = push(1)
    assert push(500) == before
    assert len(view.recent) == RECENT
    assert len(view.failed) == KEPT_FAILED
    assert sys.getsizeof(view.agents["extract"].durations.buckets) < 20_000


def test_the_timeline_is_bounded() -> None:
    view = fold(RunView(), [ev.Noted(float(i), f"note {i}") for i in range(KEPT_ENTRIES + 50)])
    assert len(view.timeline) == KEPT_ENTRIES
    assert view.timeline[-1].text == f"note {KEPT_ENTRIES + 49}"


def test_limits_are_as_they_are_now() -> None:
    view = started(ev.LimitChanged(1.0, "workers", 4, 12, "ada"))
    assert view.workers == 12
    assert view.timeline[-1].text == "workers: 4 -> 12, by ada"


def test_every_event_is_known() -> None:
    assert set(RunView()._handlers) == set(ev.Event.__args__)


def test_events_of_a_task_that_is_not_remembered_do_not_raise() -> None:
    view = RunView(order())
    fault = BOOM
    fold(
        view,
        [
            ev.StepReopened(0.0, "9", "payment", "", None, "failed", {"payment": "failed"}),
            ev.StepStarted(0.0, "9", "payment", "payment", 4, 0.0),
            ev.AttemptFailed(1.0, "9", "payment", 4, fault),
            ev.StepFailed(1.0, "9", "payment", fault),
            ev.TaskEnded(1.0, "9", "failed", None, fault),
        ],
    )
    assert view.open == {}


@given(st.lists(st.floats(min_value=1e-5, max_value=1e5), min_size=1, max_size=3 * EXACT), st.floats(0.01, 1.0))
def test_quantiles_are_near_the_truth(values: list[float], share: float) -> None:
    durations = Durations()
    for value in values:
        durations.add(value)
    rank = max(1, -(-int(share * 1_000_000) * len(values) // 1_000_000))
    near = sorted(values)[max(0, rank - 2) : rank + 1]
    got = durations.quantile(share)
    assert got is not None
    assert any(abs(got - value) <= 0.03 * value for value in near)
    assert durations.count == len(values)


def test_the_same_events_give_the_same_summary() -> None:
    rng = random.Random(3)
    events: list[ev.Event] = [ev.RunStarted(0.0, "r", "order", "x", {}, {"workers": 3})]
    for i in range(40):
        events.append(ev.TaskOpened(float(i), str(i), {}))
        for name in order().agents:
            events += attempt(i + rng.random(), name, rng.random(), str(i))
        events.append(ev.TaskEnded(i + 3.0, str(i), "done"))
    one, two = RunView(order()), RunView(order())
    for seq, event in enumerate(events, 1):
        one.apply(seq, event)
    for seq, event in enumerate(events, 1):
        two.apply(seq, event)
        if seq % 37 == 0:
            summary(two)  # reading changes nothing
    assert summary(one) == summary(two)


def test_calls_through_the_gateway_count_for_the_agent_that_is_called() -> None:
    player = Calling(usage=lambda started: ev.Usage(10, 2, 0, 0.5))
    player.call(1, 1.0)
    player.call(2, 1.0, to="routing")
    player.call(3, 9.5)
    player.play()
    view, outcomes = RunView(player.definition), TaskOutcomes()
    ended = []
    for seq, event in enumerate(player.log, 1):
        view.apply(seq, event)
        ended.append(outcomes.apply(event))
        if event.at == 1.5:
            assert view.agents["ask/execution"].steps["running"] == 1
    called = {name: one for name, one in view.agents.items() if name.startswith("ask/")}
    assert {name: (one.steps["done"], one.steps["cancelled"]) for name, one in called.items()} == {
        "ask/execution": (1, 1),
        "ask/routing": (1, 0),
    }
    assert view.agents["ask"].uses_worker
    assert view.usd == 1.5, "the step itself, and the calls that were answered"
    assert not view.open
    assert restored_view(player.definition, snapshot_of(view)).steps() == view.steps()
    assert [list(one.steps) for one in ended if one is not None] == [["ask"]]

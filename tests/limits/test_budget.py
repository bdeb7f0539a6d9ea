"""The ladder looks at what is used and likely; what is held makes calls wait, so no crowd overshoots together."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdeck.errors import Fault
from agentdeck.limits.budget import Hold, Ledger
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.workflow.model import Agent, Budget, Timeout
from tests.scheduler.driver import Desk, Player, definition, prompt, refold, snapshot


def player(
    budget: Budget, *agents: Agent, tasks: int = 1, used: int = 100, workers: int = 4, seconds: float = 1.0
) -> Player:
    return Player(
        definition(*(agents or [prompt("a")]), budget=budget),
        workers=workers,
        tasks=tasks,
        desk=Desk(),
        plan=lambda started: (seconds, None),
        usage=lambda started: ev.Usage(used // 2, used - used // 2, usd=used / 1000, model="m"),
    )


def failing(fault: Fault, started: ev.StepStarted) -> tuple[float, Fault | object]:
    return 1.0, fault


def until_paused(played: Player) -> Player:
    while not played.scheduler.state.paused and not played.finished and played.step():
        pass
    return played


def test_rungs_come_into_force_in_their_order_and_stay() -> None:
    ladder = ((0.5, "reduce"), (0.7, "downgrade"), (0.9, "drop"), (1.0, "ask"))
    agents = [prompt("a", tier="reasoning"), prompt("z", priority="low")]
    played = until_paused(player(Budget(tokens=1000, ladder=ladder), *agents, tasks=30, workers=1))
    rungs = [e.data["rung"] for e in played.of(ev.Noted)]  # type: ignore[union-attr,index]
    assert rungs == ["reduce", "downgrade", "drop"]
    desk = played.desk
    assert desk is not None
    assert [a.reduced for a in desk.asked] == sorted(a.reduced for a in desk.asked)
    assert {a.shift for a in desk.asked} == {0, -1}
    skipped = played.of(ev.StepSkipped)
    assert {e.step for e in skipped} == {"z"}  # type: ignore[union-attr]
    assert "budget" in skipped[0].why  # type: ignore[union-attr]
    eased = [e.eased for e in played.of(ev.StepStarted) if e.eased]  # type: ignore[union-attr]
    assert eased[0].startswith("reduce: ")
    assert eased[-1].startswith("reduce, downgrade: ")


def test_ask_parks_the_run_and_a_grant_lets_it_go_on() -> None:
    played = until_paused(player(Budget(usd=1.0), tasks=30))
    paused = played.of(ev.RunPaused)[0]
    assert paused.why.startswith("budget of the run: $1.00 of $1.00 used, $0.00 held")  # type: ignore[union-attr]
    assert paused.why.endswith("possible commands: agentdeck budget r")  # type: ignore[union-attr]
    assert played.scheduler.state.accounts.run is not None
    assert played.scheduler.state.accounts.run.used_usd == pytest.approx(1.0)
    played.send(ev.LimitChanged(played.now, "budget.usd", 1.0, 9.0))
    played.send(ev.RunUnpaused(played.now))
    assert played.play().finished == "done"
    assert len(played.of(ev.StepStarted)) == 30


def test_stop_cancels_what_is_left_and_keeps_what_there_is() -> None:
    played = player(Budget(tokens=500, ladder=((1.0, "stop"),)), tasks=8, workers=2).play()
    assert played.finished == "cancelled"
    assert len(played.of(ev.StepSucceeded)) == 5


def test_a_step_waits_for_what_others_may_give_back() -> None:
    """Held is more than used: nobody is asked for money that is about to be there."""
    played = player(Budget(tokens=1100), tasks=40, used=25, workers=40).play()
    assert played.finished == "done"
    assert not played.of(ev.RunPaused)
    waited = played.of(ev.StepWaited)
    assert {e.reason for e in waited} == {"budget"}  # type: ignore[union-attr]
    assert len(waited) == len({e.task for e in waited}), "told once, not each time it asks"  # type: ignore[union-attr]
    assert any((e.waits or {}).get("budget", 0) > 0 for e in played.of(ev.StepStarted))  # type: ignore[union-attr]


def test_a_step_that_goes_again_and_is_cancelled_first_uses_nothing() -> None:
    played = player(Budget(tokens=1000), prompt("a"), tasks=2, workers=1)
    played.plan = partial(failing, Fault("permanent", "no"))
    played.at(0.5, ev.RunPaused(0.5))
    played.at(2.0, ev.StepReopened(2.0, "1", "a"))
    played.at(3.0, ev.CancelAsked(3.0, "1", "a"))
    while played.now < 3.0 and played.step():
        pass
    ledger = played.scheduler.state.accounts.run
    assert ledger is not None
    assert [type(e).__name__ for e in played.log[-2:]] == ["StepCancelled", "TaskEnded"]
    assert (ledger.used_tokens, ledger.held_tokens) == (0, 0)


def test_each_task_has_its_own_budget() -> None:
    agents = [prompt("a"), prompt("b", "a"), prompt("c", "b")]
    played = player(Budget(task=Budget(tokens=250, ladder=((1.0, "stop"),))), *agents, tasks=3).play()
    assert [e.state for e in played.of(ev.TaskEnded)] == ["cancelled"] * 3  # type: ignore[union-attr]
    assert len(played.of(ev.StepSucceeded)) == 6


def test_what_an_attempt_without_usage_costs() -> None:
    ledger_of = {}
    for fault in (Fault("network", "cut"), Fault("timeout", "late", clock="idle")):
        played = Player(
            definition(prompt("a"), budget=Budget(tokens=1000)), desk=Desk(), plan=partial(failing, fault)
        )
        while not played.of(ev.AttemptFailed):
            played.step()
        assert played.scheduler.state.accounts.run is not None
        ledger_of[fault.kind] = played.scheduler.state.accounts.run.used_tokens
    assert ledger_of == {"network": 0, "timeout": 100}


@given(
    costs=st.lists(st.tuples(st.integers(0, 100), st.floats(0.1, 5.0), st.booleans()), min_size=1, max_size=90),
    tokens=st.integers(0, 3000),
    workers=st.integers(1, 64),
    stop=st.integers(1, 400),
)
def test_a_crowd_never_overshoots_together(
    costs: list[tuple[int, float, bool]], tokens: int, workers: int, stop: int
) -> None:
    """Whatever is under way at once: used plus held stays within the budget, as long as each uses no more than
    what was held for it. And the log folds to the same accounts."""

    def plan(started: ev.StepStarted) -> tuple[float, object]:
        _, seconds, good = costs[int(started.task) - 1]
        return seconds, None if good or started.attempt > 1 else Fault("network", "cut")

    played = Player(
        definition(prompt("a"), budget=Budget(tokens=tokens)),
        workers=workers,
        tasks=len(costs),
        desk=Desk(),
        plan=plan,
        usage=lambda started: ev.Usage(costs[int(started.task) - 1][0], 0),
    )
    ledger = played.scheduler.state.accounts.run
    assert isinstance(ledger, Ledger)
    for _ in range(stop):
        if played.finished or played.scheduler.state.paused or not played.step():
            break
        assert ledger.used_tokens + ledger.held_tokens <= tokens
        assert ledger.held_tokens == 100 * len(played.scheduler.state.running)
    assert snapshot(refold(played).state)["accounts"] == snapshot(played.scheduler.state)["accounts"]
    if played.scheduler.state.paused:
        assert not played.scheduler.state.running
        assert tokens - ledger.used_tokens < 100


@pytest.mark.untraced
@given(
    calls=st.lists(
        st.tuples(st.integers(1, 400), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.1, 5.0)),
        min_size=1,
        max_size=80,
    ),
    tokens=st.integers(0, 5000),
    task_tokens=st.none() | st.integers(0, 900),
    workers=st.integers(1, 64),
)
def test_no_budget_is_exceeded_by_more_than_the_last_calls_rest(
    calls: list[tuple[int, float, float, float]], tokens: int, task_tokens: int | None, workers: int
) -> None:
    """Random calls, each with what is held, likely and really used (shares of what is held): of the run's budget,
    and of each task's, no more is used than there is, and the rest of one call. No rung comes into force while
    used plus likely is below it."""
    ladder = ((0.4, "reduce"), (0.6, "downgrade"), (0.8, "drop"), (1.0, "ask"))
    nested = None if task_tokens is None else Budget(tokens=task_tokens, ladder=((1.0, "stop"),))

    def held(task: str) -> tuple[int, int]:
        most, likely, _, _ = calls[int(task) - 1]
        return most, max(1, int(most * likely))

    class Varied(Desk):
        def ask(self, action: act.Reserve, now: float) -> tuple[float, ev.Signal]:
            when, answer = super().ask(action, now)
            if isinstance(answer, ev.Reserved):
                most, likely = held(action.task)
                answer = answer._replace(tokens=most, usd=0.0, likely_out=likely)
            return when, answer

    played = Player(
        definition(prompt("a"), prompt("b", "a"), budget=Budget(tokens=tokens, ladder=ladder, task=nested)),
        workers=workers,
        tasks=len(calls),
        desk=Varied(),
        plan=lambda started: (calls[int(started.task) - 1][3], None),
        usage=lambda started: ev.Usage(0, int(held(started.task)[0] * calls[int(started.task) - 1][2])),
    )
    ledger = played.scheduler.state.accounts.run
    assert isinstance(ledger, Ledger)
    largest = max(most for most, _, _, _ in calls)
    highest = 0.0
    for _ in range(2000):
        if played.finished or played.scheduler.state.paused or not played.step():
            break
        highest = max(highest, ledger.share())
        assert ledger.used_tokens <= tokens + largest
        assert ledger.used_tokens + ledger.held_tokens <= tokens + largest
        for task, one in played.scheduler.state.accounts.tasks.items():
            assert one.used_tokens <= (task_tokens or 0) + held(task)[0]
    for event in played.of(ev.Noted):
        rung = event.data["rung"]  # type: ignore[union-attr,index]
        if rung != "stop":
            assert highest >= next(at for at, name in ladder if name == rung) - 1e-9
    assert snapshot(refold(played).state)["accounts"] == snapshot(played.scheduler.state)["accounts"]


def test_what_is_held_makes_new_calls_wait_and_changes_nothing_else() -> None:
    """Ten calls hold the whole budget, and likely use a hundredth of it."""

    class Cheap(Desk):
        def ask(self, action: act.Reserve, now: float) -> tuple[float, ev.Signal]:
            when, answer = super().ask(action, now)
            return when, answer._replace(likely_out=1) if isinstance(answer, ev.Reserved) else answer

    ladder = ((0.3, "reduce"), (0.5, "downgrade"), (0.7, "drop"), (0.9, "ask"))
    played = Player(
        definition(prompt("a", priority="low"), budget=Budget(tokens=1000, ladder=ladder)),
        workers=64,
        tasks=64,
        desk=Cheap(),
        usage=lambda started: ev.Usage(0, 1),
    ).play()
    assert played.finished == "done"
    assert len(played.of(ev.StepSucceeded)) == 64
    assert not played.of(ev.Noted)
    assert {e.reason for e in played.of(ev.StepWaited)} == {"budget"}  # type: ignore[union-attr]
    starts = played.starts("a")
    assert max(starts.count(at) for at in starts) <= 9


def test_a_call_that_likely_fits_is_the_last_one() -> None:
    """It holds more than is left, and nothing else is under way."""
    ledger = Ledger(Budget(tokens=100))
    ledger.settle(Hold(), (80, 0.0))
    assert not ledger.admits(Hold(50, 0.0, 10, 20)), "likely more than is left"
    assert ledger.admits(Hold(50, 0.0, 5, 10))
    ledger.hold(Hold(50, 0.0, 5, 10))
    assert not ledger.admits(Hold(50, 0.0, 1, 1)), "another one is under way"


def test_a_reservation_that_grows_replaces_what_was_held() -> None:
    played = player(Budget(tokens=1000), tasks=1, seconds=5.0)
    ledger = played.scheduler.state.accounts.run
    assert ledger is not None
    while not played.scheduler.state.running:
        played.step()
    played.send(ev.ReservationGrew(played.now, "1", "a", 1, 300, 0.3, 150, 50, 0.1))
    assert (ledger.held_tokens, ledger.likely_tokens) == (300, 200)
    assert snapshot(refold(played).state)["accounts"] == snapshot(played.scheduler.state)["accounts"]
    played.play()
    assert (ledger.used_tokens, ledger.held_tokens, ledger.likely_tokens) == (100, 0, 0)


def test_an_attempt_that_is_ended_is_paid_with_what_it_had_used() -> None:
    """The scheduler asks what it has used so far, and records the answer: the log gives the same accounts."""
    usage = ev.Usage(30, 12, usd=0.01, estimated=True)
    for how in ("cancel", "timeout", "lost"):
        played = player(Budget(tokens=1000, usd=9.0), prompt("a", timeout=Timeout(attempt=3.0)), seconds=50.0)
        played.scheduler.set_usage_source(lambda task, step, attempt: usage)
        ledger = played.scheduler.state.accounts.run
        assert ledger is not None
        while not played.scheduler.state.running:
            played.step()
        if how == "cancel":
            played.send(ev.CancelAsked(played.now, "1", "a"))
        elif how == "timeout":
            while not played.of(ev.AttemptFailed):
                played.step()
        else:
            played.crash()
            ledger = played.scheduler.state.accounts.run
            assert ledger is not None
        used = 100 if how == "lost" else 42
        assert ledger.used_tokens == used, how
        assert snapshot(refold(played).state)["accounts"] == snapshot(played.scheduler.state)["accounts"]
        ended = played.of({"cancel": ev.StepCancelled, "timeout": ev.AttemptFailed, "lost": ev.AttemptLost}[how])
        assert ended[0].usage.estimated  # type: ignore[union-attr]


def test_a_log_that_does_not_tell_what_is_likely_is_taken_at_its_most() -> None:
    """Version 0.1 recorded what was reserved only."""
    old = ev.StepStarted(0.0, "1", "a", "a", 1, 0.0, model="m", reserved_tokens=100, reserved_usd=0.5)
    assert ev.hold_of(old) == Hold(100, 0.5)
    assert ev.hold_of(old).likely == (100, 0.5)

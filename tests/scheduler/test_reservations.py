"""Reservations by themselves: requests, answers, queues of providers, budgets."""

from __future__ import annotations

from heapq import heappop

from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.attempts import Attempts
from agentdeck.scheduler.budget_ladder import BudgetLadder
from agentdeck.scheduler.cancellation import Cancellation
from agentdeck.scheduler.failures import Failures
from agentdeck.scheduler.provider_queues import BUDGET, FOREVER
from agentdeck.scheduler.recorder import Recorder
from agentdeck.scheduler.reservations import Reservations
from agentdeck.workflow.model import Agent, Budget
from tests.scheduler.driver import prompt
from tests.scheduler.parts import opened, recorded, step


class Parts:
    """Reservations with the parts that it uses."""

    def __init__(self, *agents: Agent, tasks: int = 2, budget: Budget | None = None) -> None:
        self.fold = fold = opened(*agents, tasks=tasks, budget=budget)
        fold.state.program.reserve_prompts(True)
        self.recorder = recorder = Recorder(fold)
        cancellation = Cancellation(fold.state, recorder)
        failures = Failures(fold.state, fold.pending, recorder, cancellation)
        ladder = BudgetLadder(fold.state, recorder, cancellation)
        attempts = Attempts(fold.state, fold.queue, fold.clock, recorder, cancellation, failures, ladder)
        self.reservations = Reservations(
            fold.state, fold.queue, fold.providers, fold.lanes, recorder, attempts, ladder
        )

    def start(self) -> bool:
        """Start the step that is next."""
        entry = heappop(self.fold.queue.heap)
        return self.reservations.start(entry[6], entry, 1.0)

    def grant(self, ask: int, task: str = "1", tokens: int = 10) -> None:
        self.reservations.reserved(ev.Reserved(1.0, ask, task, "a", "p", "m", tokens))

    def refuse(self, ask: int, reason: str = "tokens", until: float = 5.0) -> None:
        self.reservations.refused(ev.Refused(1.0, ask, "1", "a", "p", reason, until, f"p: {reason}"))


def test_a_request_takes_a_worker_until_it_is_answered() -> None:
    parts = Parts(prompt("a"))
    assert parts.start()
    assert parts.recorder.actions == [act.Reserve(1, "1", "a", 1)]
    assert len(parts.reservations.open) == 1
    parts.grant(1)
    assert not parts.reservations.open
    (started,) = recorded(parts.recorder)
    assert isinstance(started, ev.StepStarted)
    assert (started.model, started.reserved_tokens) == ("m", 10)
    assert parts.recorder.actions[-1] == act.StartAttempt(started, None, 1)


def test_a_refusal_closes_the_queue_of_the_provider_for_all_of_its_steps() -> None:
    parts = Parts(prompt("a"))
    parts.start()
    parts.refuse(1)
    assert not parts.start(), "the second one waits without a request"
    queue = parts.fold.providers.queues["p"]
    assert (queue.until, len(queue.heap)) == (5.0, 2)
    waited = [ev.StepWaited(1.0, task, "a", "tokens", "p: tokens") for task in ("1", "2")]
    assert recorded(parts.recorder) == waited


def test_a_refusal_is_out_of_date_if_capacity_came_back_meanwhile() -> None:
    parts = Parts(prompt("a"))
    parts.start()
    parts.fold.providers.open_released()
    parts.refuse(1)
    assert parts.fold.providers.queues["p"].until is None
    parts = Parts(prompt("a"))
    parts.start()
    parts.fold.providers.open_released()
    parts.refuse(1, "cooldown")
    assert parts.fold.providers.queues["p"].until == 5.0, "a cooldown does not depend on capacity"
    parts = Parts(prompt("a"))
    parts.start()
    parts.fold.providers.open_all()
    parts.refuse(1, "cooldown")
    assert parts.fold.providers.queues["p"].until is None, "an operator changed something"


def test_what_can_no_longer_start_gives_its_reservation_back() -> None:
    parts = Parts(prompt("a"))
    parts.start()
    parts.fold.apply(ev.StepCancelled(1.0, "1", "a"))
    parts.grant(1)
    assert parts.recorder.actions[-1] == act.ReleaseReservation(1)
    parts = Parts(prompt("a"))
    parts.start()
    parts.fold.apply(ev.RunPaused(1.0))
    parts.grant(1)
    assert parts.recorder.actions[-1] == act.ReleaseReservation(1)
    assert [entry[6].task.id for entry in sorted(parts.fold.queue.heap)] == ["1", "2"], "with its old place"


def test_a_step_without_room_in_its_budget_waits_for_what_others_hold() -> None:
    budget = Budget(tokens=100, ladder=((1.0, "ask"),))
    parts = Parts(prompt("a"), tasks=3, budget=budget)
    parts.start()
    parts.start()
    parts.grant(1, tokens=80)
    parts.grant(2, task="2", tokens=80)
    assert act.ReleaseReservation(2) in parts.recorder.actions
    assert parts.fold.providers.queues[BUDGET].until == FOREVER
    assert [name for name, _, _ in parts.reservations.stopped_queues()] == [BUDGET]
    parts.fold.apply(ev.StepSucceeded(2.0, "1", "a", 1, None, ev.Usage(30, 0)))
    assert parts.fold.providers.queues[BUDGET].until is None, "its hold came back"


def test_a_budget_that_is_used_up_ends_the_work_as_its_last_rung_says() -> None:
    for rung, kind in (("ask", ev.RunPaused), ("stop", ev.Noted)):
        parts = Parts(prompt("a"), budget=Budget(tokens=5, ladder=((1.0, rung),)))
        parts.start()
        parts.grant(1, tokens=50)
        assert kind in {type(event) for event in recorded(parts.recorder)}
        assert step(parts.fold, "a").ended == (rung == "stop")


def test_low_priority_is_dropped_once_the_budget_says_so() -> None:
    budget = Budget(tokens=100, ladder=((0.5, "drop"), (1.0, "ask")))
    parts = Parts(prompt("a", priority="low"), budget=budget)
    ledger = parts.fold.state.accounts.run
    assert ledger is not None
    ledger.used_tokens = 60
    assert not parts.start()
    noted, skipped = recorded(parts.recorder)
    assert isinstance(noted, ev.Noted)
    assert noted.data == {"rung": "drop", "budget": ""}
    assert isinstance(skipped, ev.StepSkipped)
    assert skipped.why == "budget: steps of low priority are skipped (60% of the run)"

"""A run that is taken up after nobody ran it for a while: what of its clocks went on meanwhile."""

from __future__ import annotations

import pytest

from agentdeck.errors import Fault
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.state import HELD, OPEN, READY, WAITING
from agentdeck.workflow.model import Agent, Approve, Definition, Join, Retry, Timeout
from tests.scheduler.driver import agent, definition, snapshot

IDLE = 100.0
FOREVER = 1e6


def killed(of: Definition, until: float, *events: ev.Event, workers: int = 4) -> Scheduler:
    """What is left of a run that was killed at this moment, after what happened: folded from its log alone."""
    live, log = Scheduler(Program(of), run="r", workers=workers), list[ev.Event]()

    def send(event: ev.Event | ev.Signal) -> None:
        for action in live.handle(event):
            if isinstance(action, act.Record):
                log.append(action.event)
            elif isinstance(action, act.PullTask):
                opened = live.state.opened == 0
                send(ev.TaskOpened(event.at, "1", {}) if opened else ev.TasksExhausted(event.at, 1))

    send(ev.RunStarted(0.0, "r", of.name, "", {}, {}))
    for event in events:
        send(event)
    assert live.deadline > until, "nothing was due before"
    again = Scheduler(Program(of), run="r", workers=workers)
    for event in log:
        again.apply(event)
    assert snapshot(again.state) == snapshot(live.state)
    return again


def resume(scheduler: Scheduler, at: float) -> list[ev.Event]:
    """What is recorded as somebody takes it up IDLE seconds after it was killed."""
    actions = scheduler.handle(ev.RunResumed(at, IDLE, "ada"))
    return [action.event for action in actions if isinstance(action, act.Record)]


def fire(scheduler: Scheduler, at: float) -> list[ev.Event]:
    return [action.event for action in scheduler.handle(ev.TimerFired(at)) if isinstance(action, act.Record)]


def state(scheduler: Scheduler, step: str) -> str:
    return scheduler.state.step("1", step).state


def test_a_backoff_keeps_its_deadline() -> None:
    failed = ev.AttemptFailed(1.0, "1", "a", 1, Fault("server", "down", retry_after=30.0))
    scheduler = killed(definition(agent("a", retry=Retry(3))), 2.0, failed)
    resume(scheduler, 2.0 + IDLE)
    assert scheduler.deadline <= 31.0, "its time came while nobody ran it"
    fire(scheduler, 2.0 + IDLE)
    assert state(scheduler, "a") == "running"
    later = Fault("server", "down", retry_after=300.0)
    scheduler = killed(definition(agent("a", retry=Retry(3))), 2.0, failed._replace(fault=later))
    resume(scheduler, 2.0 + IDLE)
    assert (state(scheduler, "a"), scheduler.state.step("1", "a").until) == (HELD, 301.0)


def test_within_stands_still_while_nobody_runs() -> None:
    graph = [agent("a"), agent("b"), agent("join", "a", "b", join=Join("quorum", 2, within=10.0, min=1))]
    scheduler = killed(definition(*graph), 4.0, ev.StepSucceeded(1.0, "1", "a", 1, 1))
    resume(scheduler, 4.0 + IDLE)
    assert state(scheduler, "join") == WAITING
    fire(scheduler, 9.9 + IDLE)
    assert state(scheduler, "join") == WAITING
    released = fire(scheduler, 10.0 + IDLE)
    assert [(e.step, e.who) for e in released if isinstance(e, ev.StepReleased)] == [("join", "clock")]


def test_twice_interrupted_within_stands_still_twice() -> None:
    graph = [agent("a"), agent("b"), agent("join", "a", "b", join=Join("quorum", 2, within=10.0, min=1))]
    scheduler = killed(definition(*graph), 4.0, ev.StepSucceeded(1.0, "1", "a", 1, 1))
    resume(scheduler, 4.0 + IDLE)
    resume(scheduler, 5.0 + 2 * IDLE)
    fire(scheduler, 9.9 + 2 * IDLE)
    assert state(scheduler, "join") == WAITING
    fire(scheduler, 10.0 + 2 * IDLE)
    assert state(scheduler, "join") != WAITING


def test_attempt_begins_anew_and_total_goes_on() -> None:
    graph = definition(agent("a", timeout=Timeout(attempt=10.0, total=60.0), retry=Retry(1)))
    scheduler = killed(graph, 9.0)
    lost = resume(scheduler, 9.0 + 20.0)
    assert [(e.step, e.attempt) for e in lost if isinstance(e, ev.AttemptLost)] == [("a", 1)]
    started = [e for e in lost if isinstance(e, ev.StepStarted)]
    assert [(e.attempt, e.at) for e in started] == [(2, 29.0)]
    assert scheduler.state.step("1", "a").tries == 0, "what was lost counts as no try"
    assert fire(scheduler, 38.9) == []
    (late,) = (e for e in fire(scheduler, 39.0) if isinstance(e, ev.AttemptFailed))
    assert (late.attempt, late.fault.clock) == (2, "attempt")
    scheduler = killed(graph, 9.0)
    resume(scheduler, 9.0 + IDLE)
    (failed,) = (e for e in fire(scheduler, 9.0 + IDLE) if isinstance(e, ev.StepFailed))
    assert failed.fault.clock == "total"


def test_a_question_stays_open_and_keeps_its_time() -> None:
    ask = Agent("ask", Approve("Really?", within=50.0, otherwise="reject"))
    scheduler = killed(definition(ask), 20.0)
    actions = scheduler.handle(ev.RunResumed(20.0 + IDLE, IDLE, "ada"))
    assert state(scheduler, "ask") == OPEN
    (asked,) = (action.started for action in actions if isinstance(action, act.StartAttempt))
    assert asked.attempt == 1, "the same question, not another one"
    assert scheduler.deadline == 50.0 + IDLE
    scheduler.handle(ev.StepAnswered(21.0 + IDLE, "1", "ask", True, {}, "ada"))
    assert scheduler.state.status == "done"


def test_who_waited_in_line_has_not_waited_while_nobody_ran() -> None:
    graph = [agent("a", timeout=Timeout(attempt=FOREVER)), agent("b", timeout=Timeout(queue=30.0))]
    scheduler = killed(definition(*graph), 20.0, workers=1)
    resume(scheduler, 20.0 + IDLE)
    assert state(scheduler, "b") == READY
    assert scheduler.deadline == pytest.approx(30.0 + IDLE)

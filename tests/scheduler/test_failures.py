"""Retries, fallbacks, final failures and joins that come to nothing, by themselves."""

from __future__ import annotations

import pytest

from agentdeck.errors import Fault
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.cancellation import Cancellation
from agentdeck.scheduler.failures import Failures
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.joins import NEVER, SKIP
from agentdeck.scheduler.recorder import Recorder
from agentdeck.workflow.model import Agent, OnError, Retry
from tests.scheduler.driver import agent, prompt
from tests.scheduler.parts import opened, recorded, start, step, succeed

FLAKY = Fault("exception", "flaky")


def parts(fold: Fold) -> tuple[Failures, Recorder]:
    recorder = Recorder(fold)
    cancellation = Cancellation(fold.state, recorder)
    return Failures(fold.state, fold.pending, recorder, cancellation), recorder


def fail_once(*agents: Agent, fault: Fault = FLAKY, metered: bool = False) -> list[ev.Event]:
    """What is recorded when the first attempt of `a` fails."""
    fold = opened(*agents)
    fold.state.program.reserve_prompts(metered)
    failures, recorder = parts(fold)
    start(fold, "a")
    failures.attempt_failed(step(fold, "a"), ev.AttemptFailed(1.0, "1", "a", 1, fault))
    return recorded(recorder)


def test_a_retry_waits_a_random_part_of_its_ceiling_and_always_the_same() -> None:
    first = fail_once(agent("a", retry=Retry(3, delay=10.0)))
    assert [type(event) for event in first] == [ev.AttemptFailed, ev.StepRetrying]
    assert first == fail_once(agent("a", retry=Retry(3, delay=10.0)))
    retrying = first[1]
    assert isinstance(retrying, ev.StepRetrying)
    assert 1.0 <= retrying.until < 11.0
    assert retrying.reason == "backoff"


@pytest.mark.parametrize(
    ("fault", "metered", "until", "reason"),
    [
        (Fault("rate_limit", "slower", retry_after=42.0), False, 43.0, "cooldown"),
        (Fault("rate_limit", "slower", retry_after=42.0), True, 1.0, "cooldown"),
        (Fault("budget", "no room"), True, 1.0, "budget"),
    ],
)
def test_who_waits_where(fault: Fault, metered: bool, until: float, reason: str) -> None:
    """A step that reserves tries again at once, as its reservation waits as long as it has to."""
    retrying = fail_once(prompt("a", retry=Retry(3, delay=1.0)), fault=fault, metered=metered)[1]
    assert isinstance(retrying, ev.StepRetrying)
    assert (retrying.until, retrying.reason) == (until, reason)


def test_an_invalid_answer_escalates_where_asked_for() -> None:
    invalid = Fault("invalid", "not JSON")
    retrying = fail_once(prompt("a", retry=Retry(3, escalate=True)), fault=invalid)[1]
    assert isinstance(retrying, ev.StepRetrying)
    assert retrying.tier_up == 1


def test_the_fallback_comes_after_the_last_attempt() -> None:
    told = fail_once(agent("a", retry=Retry(1), on_error=OnError("fail", "spare")), agent("spare", spare=True))
    assert told[1] == ev.StepFellBack(1.0, "1", "a", "spare")


def test_what_fails_for_good_is_kept_as_a_letter_with_its_inputs() -> None:
    fold = opened(agent("b"), agent("a", "b", retry=Retry(1), on_error=OnError("continue")))
    failures, recorder = parts(fold)
    succeed(fold, "b", output="text")
    failures.fail(step(fold, "a"), 2.0, FLAKY)
    letter = recorder.actions[0]
    assert isinstance(letter, act.SaveLetter)
    assert letter.inputs["b"] == "text"
    assert recorded(recorder) == [ev.StepFailed(2.0, "1", "a", FLAKY, tolerated=True)]


def test_a_join_that_comes_to_nothing_ends_as_its_needs_did() -> None:
    fold = opened(agent("a"), agent("b"), agent("join", "a", "b"), agent("other", "a"))
    failures, recorder = parts(fold)
    fold.apply(ev.StepFailed(1.0, "1", "a", FLAKY))
    failures.join_failed(step(fold, "join"), NEVER, 1.0)
    fold.apply(ev.StepCancelled(1.0, "1", "b"))
    failures.join_failed(step(fold, "other"), SKIP, 1.0)
    first, second = recorded(recorder)
    assert isinstance(first, ev.StepFailed)
    assert (first.fault, first.letter) == (Fault("needs", "a failed"), False)
    assert second == ev.StepSkipped(1.0, "1", "other", "all its needs were skipped")
    fold = opened(agent("a"), agent("join", "a"))
    failures, recorder = parts(fold)
    fold.apply(ev.StepCancelled(1.0, "1", "a"))
    failures.join_failed(step(fold, "join"), NEVER, 1.0)
    assert recorded(recorder) == [ev.StepCancelled(1.0, "1", "join", "a was cancelled")]


def test_what_an_ended_attempt_used_is_asked_for_where_it_holds_a_reservation() -> None:
    fold = opened(agent("a"))
    _, recorder = parts(fold)
    recorder.set_usage_source(lambda task, key, attempt: ev.Usage(7, 0))
    cancellation = Cancellation(fold.state, recorder)
    fold.apply(ev.StepStarted(0.0, "1", "a", "a", 1, 0.0, reserved_tokens=10, model="m"))
    cancellation.cancel(step(fold, "a"), 1.0, "why not")
    assert recorder.actions[0] == act.CancelAttempt("1", "a", 1, "why not")
    assert recorded(recorder) == [ev.StepCancelled(1.0, "1", "a", "why not", ev.Usage(7, 0))]

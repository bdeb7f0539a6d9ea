"""`timeout: auto`: the clock follows what was seen."""

from __future__ import annotations

import pytest

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import auto_timeout
from agentdeck.workflow.model import Retry, Timeout
from tests.scheduler.driver import Player, agent, definition, refold, snapshot


def test_it_is_p95_and_half_as_much_again_of_what_there_is() -> None:
    assert auto_timeout([1.0] * 19) is None
    assert auto_timeout([1.0] * 19 + [9.0]) == 1.5
    assert auto_timeout([float(n) for n in range(1, 101)]) == 95 * 1.5


def test_thirty_seconds_hold_until_twenty_are_known_and_then_what_was_seen() -> None:
    def plan(started: ev.StepStarted) -> tuple[float, object]:
        late = {1: 29.0, 30: 29.0}
        return late.get(int(started.task), 2.0), None

    auto = agent("a", timeout=Timeout(attempt=30.0, auto=True), retry=Retry(attempts=1))
    played = Player(definition(auto), workers=1, tasks=40, plan=plan).play()
    failed = played.of(ev.AttemptFailed)
    assert [e.task for e in failed] == ["30"]  # type: ignore[union-attr]
    assert "no answer within 3 s" in failed[0].fault.message  # type: ignore[union-attr]
    assert snapshot(refold(played).state)["timeouts"] == snapshot(played.scheduler.state)["timeouts"] == [3.0]


def test_an_operator_who_sets_the_clock_ends_its_own_mind() -> None:
    auto = agent("a", timeout=Timeout(attempt=30.0, auto=True))
    played = Player(definition(auto), workers=1, tasks=60, plan=lambda started: (2.0, None))
    played.at(1.0, ev.LimitChanged(1.0, "agents.a.timeout", 30.0, 100.0))
    played.play()
    assert played.scheduler.state.program.rules[0].attempt_timeout == pytest.approx(100.0)

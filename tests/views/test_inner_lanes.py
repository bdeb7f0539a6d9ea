"""When the inner steps of a step ran, as they were at a moment."""

from __future__ import annotations

from typing import Any

import pytest

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.views import inner_lanes
from agentdeck.views.inner_lanes import InnerLanes

ATTEMPT = ("1", "a", 1)


def played(*events: Any) -> InnerLanes:
    lanes = InnerLanes()
    for seq, event in enumerate(events, 1):
        lanes.apply(seq, event)
    return lanes


def states(lanes: InnerLanes, seq: int, most: int = 20) -> list[tuple[str, str]]:
    return [(row.step, row.state) for row in lanes.rows(seq, most)[1]]


def test_lanes_are_nested_and_end_well_badly_or_with_their_attempt() -> None:
    lanes = played(
        ev.StepStarted(0.0, "1", "a", "a", 1, 0.0),
        ev.InnerStarted(1.0, *ATTEMPT, 1, "write"),
        ev.InnerStarted(2.0, *ATTEMPT, 2, "model", 1),
        ev.InnerEnded(3.0, *ATTEMPT, 2),
        ev.InnerEnded(4.0, *ATTEMPT, 1, None, Fault("exception", "no")),
        ev.InnerStarted(5.0, *ATTEMPT, 3, "check"),
        ev.InnerEnded(5.5, *ATTEMPT, 99),
        ev.AttemptFailed(6.0, *ATTEMPT, Fault("exception", "no")),
    )
    assert states(lanes, 8) == [("write", "failed"), ("  model", "done"), ("check", "cancelled")]
    assert states(lanes, 3) == [("write", "running"), ("  model", "running")]
    first, rows = lanes.rows(8, 2)
    assert (first, [row.step for row in rows]) == (1, ["  model", "check"])
    assert rows[0].spans[0].until == 3.0


def test_of_many_the_newest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_lanes, "MOST", 8)
    lanes = played(*(ev.InnerStarted(float(at), *ATTEMPT, at, f"n{at}") for at in range(1, 21)))
    _, rows = lanes.rows(20, 100)
    assert len(rows) <= 8
    assert rows[-1].step == "n20"

"""`concurrent: auto` finds what a provider takes, and stays within its bounds."""

from __future__ import annotations

from heapq import heappop, heappush

import pytest

from agentdeck.core.pace import Pace


def played(pace: Pace, capacity: int, *, refuses: bool, calls: int = 3000) -> list[int]:
    """Calls at a provider that serves `capacity` at once in a second each: more are refused, or take longer.
    How many places there were, at the end of each."""
    now, live, places = 0.0, 0, []
    ends: list[tuple[float, int, float]] = []
    for number in range(calls):
        while live < pace.places:
            takes = max(1.0, (live + 1) / capacity) if not refuses else 1.0
            heappush(ends, (now + takes, number * 1000 + live, takes))
            live += 1
        if refuses and live > capacity:
            pace.refused(now)
        now, _, takes = heappop(ends)
        pace.ended(now, takes, live)
        live -= 1
        places.append(pace.places)
    return places


@pytest.mark.parametrize("refuses", [True, False])
def test_it_finds_what_the_provider_takes(refuses: bool) -> None:
    places = played(Pace(200), 20, refuses=refuses)
    settled = places[1000:]
    assert 12 <= sum(settled) / len(settled) <= 45
    assert max(settled) <= 60


def test_it_starts_small_doubles_and_stays_within_its_bounds() -> None:
    pace = Pace(10)
    assert pace.places == 4
    for n in range(40):
        pace.ended(float(n), 1.0, pace.places)
    assert pace.places == 10
    for n in range(40, 80):
        pace.refused(n * 10.0)
    assert pace.places == 1


def test_one_crowd_is_one_setback() -> None:
    pace = Pace(100)
    for _ in range(60):
        pace.ended(1.0, 1.0, pace.places)
    before = pace.size
    for _ in range(30):
        pace.refused(2.0)
    assert pace.size == pytest.approx(before * 0.7)


def test_places_that_nobody_takes_do_not_grow() -> None:
    pace = Pace(100)
    for n in range(50):
        pace.ended(float(n), 1.0, 2)
    assert pace.places == 4

"""`concurrent: auto` finds what a provider takes, and stays within its bounds."""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random

import pytest

from agentdeck.limits.adaptive_concurrency import AdaptiveConcurrency


def played(pace: AdaptiveConcurrency, capacity: int, *, refuses: bool, calls: int = 3000) -> list[int]:
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
            pace.record_refusal(now)
        now, _, takes = heappop(ends)
        pace.record_success(now, takes, live)
        live -= 1
        places.append(pace.places)
    return places


@pytest.mark.parametrize("refuses", [True, False])
def test_it_finds_what_the_provider_takes(refuses: bool) -> None:
    places = played(AdaptiveConcurrency(200), 20, refuses=refuses)
    settled = places[1000:]
    assert 12 <= sum(settled) / len(settled) <= 45
    assert max(settled) <= 60


def replayed(capacity: int, at_random: float) -> tuple[float, float]:
    """Ten minutes at a provider that serves `capacity` calls at once in about a second each and refuses more at
    once, and others at random. Calls that ended well per second, and the share that was refused."""
    random, pace = Random(1), AdaptiveConcurrency(64)
    now, live, good, refused = 0.0, 0, 0, 0
    ends: list[tuple[float, float, bool]] = []
    while now < 600.0:
        while live < pace.places:
            live += 1
            bad = random.random() < at_random or live > capacity
            heappush(ends, (now + (0.05 if bad else random.uniform(0.8, 1.2)), now, bad))
        now, began, bad = heappop(ends)
        if bad:
            pace.record_refusal(now)
            refused += 1
        else:
            pace.record_success(now, now - began, live)
            good += 1
        live -= 1
    return good / 600.0, refused / (good + refused)


@pytest.mark.parametrize(("capacity", "at_random"), [(64, 0.01), (64, 0.02), (20, 0.01), (20, 0.02), (8, 0.02)])
def test_calls_that_are_refused_at_random_take_few_places(capacity: int, at_random: float) -> None:
    assert replayed(capacity, at_random)[0] >= 0.87 * capacity


@pytest.mark.parametrize("capacity", [4, 8, 20])
def test_few_calls_are_refused_on_the_way_to_what_the_provider_takes(capacity: int) -> None:
    good, refused = replayed(capacity, 0.0)
    assert good >= 0.9 * capacity
    assert refused <= 0.1


def test_it_starts_small_doubles_and_stays_within_its_bounds() -> None:
    pace = AdaptiveConcurrency(10)
    assert pace.places == 4
    for n in range(40):
        pace.record_success(float(n), 1.0, pace.places)
    assert pace.places == 10
    for n in range(40, 80):
        pace.record_refusal(n * 10.0)
    assert pace.places == 1


def test_one_crowd_is_one_setback() -> None:
    pace = AdaptiveConcurrency(100)
    for _ in range(60):
        pace.record_success(1.0, 1.0, pace.places)
    before = pace.size
    for _ in range(30):
        pace.record_refusal(2.0)
    assert pace.size == pytest.approx(before * 0.7)


def test_places_that_nobody_takes_do_not_grow() -> None:
    pace = AdaptiveConcurrency(100)
    for n in range(50):
        pace.record_success(float(n), 1.0, 2)
    assert pace.places == 4

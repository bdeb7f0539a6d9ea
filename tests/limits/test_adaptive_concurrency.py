"""`concurrent: auto` finds what a provider takes, and stays within its bounds."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import pairwise
from random import Random

import pytest

from agentdeck.limits.adaptive_concurrency import AdaptiveConcurrency
from agentdeck.limits.answer_speed import AnswerSpeed


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
            pace.record_refusal(now, now)
        now, _, takes = heappop(ends)
        pace.record_success(now, AnswerSpeed(takes), live)
        live -= 1
        places.append(pace.places)
    return places


@pytest.mark.parametrize("refuses", [True, False])
def test_it_finds_what_the_provider_takes(refuses: bool) -> None:
    places = played(AdaptiveConcurrency(200), 20, refuses=refuses)
    settled = places[1000:]
    assert 12 <= sum(settled) / len(settled) <= 45
    assert max(settled) <= 64


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
            pace.record_refusal(now, began)
            refused += 1
        else:
            pace.record_success(now, AnswerSpeed(now - began), live)
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


def ended(pace: AdaptiveConcurrency, at: float, **speed: float) -> None:
    """A call ended well, while all places were in use."""
    pace.record_success(at, AnswerSpeed(**{"seconds": 1.0, **speed}), pace.places)


def test_it_starts_small_doubles_and_stays_within_its_bounds() -> None:
    pace = AdaptiveConcurrency(10)
    assert pace.places == 4
    for n in range(40):
        ended(pace, n + 1.0)
    assert pace.places == 10
    for n in range(40, 80):
        pace.record_refusal(n * 10.0, n * 10.0)
    assert pace.places == 1


def test_one_crowd_is_one_setback_and_at_most_half() -> None:
    pace = AdaptiveConcurrency(100)
    for _ in range(60):
        ended(pace, 1.0)
    before = pace.size
    for _ in range(60):
        pace.record_refusal(2.0, 1.5)
    assert pace.size == pytest.approx(before / 2)
    for _ in range(60):
        pace.record_refusal(2.1, 2.05)
    assert pace.size == pytest.approx(before / 4), "these were sent after it"


def test_a_clean_window_adds_one_place_and_a_row_of_them_more() -> None:
    pace = AdaptiveConcurrency(100)
    pace.record_refusal(0.0, 0.0)  # the search is over
    places = []
    for window in range(9):
        for _ in range(pace.places):
            ended(pace, window + 1.0)
        places.append(pace.places)
    assert [after - before for before, after in pairwise(places[:4])] == [1, 1, 1]
    assert places[-1] - places[-2] > 2


def test_places_that_nobody_takes_do_not_grow() -> None:
    pace = AdaptiveConcurrency(100)
    for n in range(50):
        pace.record_success(float(n), AnswerSpeed(1.0), 2)
    assert pace.places == 4


def test_a_long_answer_is_no_congestion() -> None:
    """Ten tokens or ten thousand: they begin as soon, and come as fast."""
    pace, random = AdaptiveConcurrency(16), Random(1)
    for n in range(400):
        tokens = 10_000 if n >= 200 else random.randint(100, 200)
        ended(pace, 300.0 * n, seconds=0.5 + tokens * 0.02, first=random.uniform(0.4, 0.6), each=0.02)
    assert pace.places == 16


@pytest.mark.parametrize("measure", ["first", "each", "seconds"])
def test_answers_that_begin_later_or_come_more_slowly_take_places_away(measure: str) -> None:
    usual = {"seconds": 4.0} if measure == "seconds" else {"seconds": 4.0, "first": 0.5, "each": 0.02}
    pace = AdaptiveConcurrency(16)
    for n in range(100):
        ended(pace, 10.0 * n, **usual)
    assert pace.places == 16
    slow = {**usual, measure: 5 * usual[measure]}
    for n in range(100, 110):
        ended(pace, 10.0 * n, **slow)
    assert pace.places < 16


def test_only_calls_of_one_kind_are_compared() -> None:
    pace = AdaptiveConcurrency(16)
    for n in range(200):
        kind = ("m", "long") if n % 2 else ("m", "short")
        pace.record_success(10.0 * n, AnswerSpeed(9.0 if n % 2 else 1.0), pace.places, kind)
    assert pace.places == 16


def test_where_fewer_places_make_nothing_faster_they_come_back() -> None:
    """The provider is slower from now on, whatever is asked."""
    pace = AdaptiveConcurrency(16)
    for n in range(100):
        ended(pace, 10.0 * n, seconds=2.0, first=0.4, each=0.02)
    for n in range(100, 300):
        ended(pace, 10.0 * n, seconds=6.0, first=1.2, each=0.06)
    assert pace.places == 16

"""How often the run screen is drawn."""

from __future__ import annotations

import pytest

from agentdeck.console.throttle import CROWDED, FRAME, IDLE, IDLE_AFTER, SLOWEST, FrameRate

CHEAP = 0.001


class Loop:
    """A loop that draws frames at the interval of a frame rate."""

    def __init__(self) -> None:
        self.rate = FrameRate()
        self.clock = self.cpu = 100.0
        self.events = 0

    def frames(self, count: int, *, per_second: float, cost: float = CHEAP, busy: float = 0.0) -> float:
        """Draw frames while so many events arrive per second; returns the interval then."""
        for _ in range(count):
            elapsed = self.rate.interval
            self.clock += elapsed
            self.cpu += busy * elapsed
            self.events += round(per_second * elapsed)
            self.rate.after_frame(cost, self.events, cpu=self.cpu, clock=self.clock)
        return self.rate.interval


def test_a_run_from_which_little_comes_is_drawn_at_the_full_rate() -> None:
    assert Loop().frames(20, per_second=40) == FRAME


def test_a_run_from_which_nothing_comes_is_drawn_seldom_until_something_does() -> None:
    loop = Loop()
    assert loop.frames(int(IDLE_AFTER / FRAME) - 2, per_second=0) == FRAME
    assert loop.frames(4, per_second=0) == IDLE
    loop.rate.wake(loop.clock)
    assert loop.rate.interval == FRAME
    assert loop.frames(1, per_second=0) == FRAME, "it does not fall back at once"


@pytest.mark.parametrize(("per_second", "busy"), [(10_000, 0.0), (40, 0.5)])
def test_many_events_and_a_busy_loop_make_fewer_frames_and_keys_do_not_change_that(
    per_second: float, busy: float
) -> None:
    loop = Loop()
    assert loop.frames(3, per_second=per_second, busy=busy) == CROWDED
    loop.rate.wake(loop.clock)
    assert loop.frames(3, per_second=per_second, busy=busy) == CROWDED
    assert loop.frames(3, per_second=40) == FRAME


def test_expensive_frames_are_fewer_the_longer_they_last() -> None:
    loop = Loop()
    first = loop.frames(2, per_second=40, cost=0.02)
    assert FRAME < first < loop.frames(20, per_second=40, cost=0.02) == SLOWEST
    assert loop.frames(1, per_second=40) == FRAME

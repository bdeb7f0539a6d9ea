"""The output tokens that the answers under way can still add, and by when.

A server counts an output token when it is generated, or all tokens of an answer when it ends. While an answer is
under way its tokens therefore count as now, and from its end on for one window. Tokens that are not generated
yet do not count yet, but must fit when they are: into what the window has freed by then. So a call is admitted
where, at every moment ahead, the tokens that still count then plus the most that all answers under way can have
by then stay within the limit. No answer becomes longer than its `most`, or grows faster than its `pace`.

Reserving the likely sum instead was measured: with the mean plus five standard deviations, limits of three to
ten times the longest answer are used by 10 to 12 percent more, but a window was exceeded when the lengths of all
answers changed at once. A limit that holds is worth more than that.

A server may also count an answer when its request arrives, with an estimate of its own. No reservation can bound
that exactly: the likely sum plus DEVIATIONS standard deviations is kept free.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator
from math import inf, sqrt
from typing import NamedTuple

#: Standard deviations above the mean that are kept free, for a server that counts answers from their beginning.
DEVIATIONS = 3.0


class OutputForecast(NamedTuple):
    """The expected length of an answer under way: it had `generated` tokens `at` that time, and will have about
    `likely` with the standard deviation `spread`, growing by at most `pace` tokens a second."""

    generated: int
    at: float
    likely: float
    spread: float
    pace: float

    def by(self, when: float, most: float) -> float:
        """The most tokens that it can have by this time."""
        if self.pace == inf:
            return most
        return min(most, self.generated + self.pace * max(0.0, when - self.at))


class OutputTotal(NamedTuple):
    """The final length of several answers together: mean, variance and maximum."""

    likely: float = 0.0
    variance: float = 0.0
    most: float = 0.0

    def plus(self, most: float, forecast: OutputForecast | None) -> OutputTotal:
        if forecast is None:
            return OutputTotal(self.likely + most, self.variance, self.most + most)
        likely = self.likely + min(most, forecast.likely)
        return OutputTotal(likely, self.variance + forecast.spread**2, self.most + most)

    @property
    def needs(self) -> float:
        """The room to keep free for them."""
        return min(self.most, self.likely + DEVIATIONS * sqrt(self.variance))


class OpenOutput:
    """All answers under way, as seen `now`. `most` is their maximum length together; `started` is the final
    length of those that were sent within the window."""

    __slots__ = ("_generated", "_growing", "_pace", "most", "now", "started")

    def __init__(self, now: float) -> None:
        self.now = now
        self.most = 0.0
        self.started = OutputTotal()
        self._generated = 0.0
        self._pace = 0.0
        #: Of each answer below its maximum: when it can reach it, how many tokens that adds, and its pace.
        self._growing: list[tuple[float, float, float]] = []

    def add(self, most: float, forecast: OutputForecast | None, recent: bool) -> None:
        self.most += most
        if recent:
            self.started = self.started.plus(most, forecast)
        generated = most if forecast is None else forecast.by(self.now, most)
        self._generated += generated
        if forecast is not None and generated < most:
            left = most - generated
            insort(self._growing, (self.now + left / forecast.pace, left, forecast.pace))
            self._pace += forecast.pace

    def generated_by(self, moments: Iterable[float]) -> Iterator[float]:
        """The most tokens that all answers can have at each of these times, which must be in order."""
        generated, pace, ended = self._generated, self._pace, 0
        for when in moments:
            while ended < len(self._growing) and self._growing[ended][0] <= when:
                generated += self._growing[ended][1]
                pace -= self._growing[ended][2]
                ended += 1
            yield generated + pace * (when - self.now)

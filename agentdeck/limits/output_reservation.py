"""How many output tokens the answers under way may still add, and by when.

A server counts an output token when it is generated, or all of an answer's when it ends. While an answer is under
way its tokens therefore count as now, and once it has ended they count for one window from then. What an
answer has not said yet does not count yet, but it must fit by the time it is said: into what the window has
freed by then. So a call is admitted where, at every moment ahead, what still counts then plus the most that all
answers under way can have said by then stays within the limit. No answer is longer than its `most`, nor grows
faster than its `pace`.

Reserving less, the sum that is likely, was measured as well: with the mean plus five standard deviations, limits
of three to ten times the longest answer are used by 10 to 12 percent more, but a window was exceeded when the
lengths of all answers changed at once. A limit that holds is worth more than that.

A server may also count an answer when its request comes in. It cannot know the length by then, so no reservation
of ours can bound what it counts exactly: the likely sum plus DEVIATIONS standard deviations is kept free.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator
from math import inf, sqrt
from typing import NamedTuple

#: How far above its mean the sum of answers may come, for a server that counts them from their beginning.
DEVIATIONS = 3.0


class OutputForecast(NamedTuple):
    """An answer under way: it had `said` so many tokens `at` that time, and will come to about `likely`, with
    this standard deviation (`spread`), by at most `pace` tokens a second."""

    said: int
    at: float
    likely: float
    spread: float
    pace: float

    def by(self, when: float, most: float) -> float:
        """The most that it can have said by then."""
        if self.pace == inf:
            return most
        return min(most, self.said + self.pace * max(0.0, when - self.at))


class OutputTotal(NamedTuple):
    """What several answers come to in the end: mean, variance, and the most."""

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
        """How much room they need."""
        return min(self.most, self.likely + DEVIATIONS * sqrt(self.variance))


class OpenOutput:
    """All answers under way, as one that is `now` sees them. They come to `most` at the most; `started` is what
    those come to in the end that were sent within the window."""

    __slots__ = ("_growing", "_pace", "_said", "most", "now", "started")

    def __init__(self, now: float) -> None:
        self.now = now
        self.most = 0.0
        self.started = OutputTotal()
        self._said = 0.0
        self._pace = 0.0
        #: Of each that has not said its most: when it may have, by how much it grows until then, and its pace.
        self._growing: list[tuple[float, float, float]] = []

    def add(self, most: float, forecast: OutputForecast | None, recent: bool) -> None:
        self.most += most
        if recent:
            self.started = self.started.plus(most, forecast)
        said = most if forecast is None else forecast.by(self.now, most)
        self._said += said
        if forecast is not None and said < most:
            insort(self._growing, (self.now + (most - said) / forecast.pace, most - said, forecast.pace))
            self._pace += forecast.pace

    def said_by(self, moments: Iterable[float]) -> Iterator[float]:
        """The most that all of them can have said, by each of these moments. They come in order."""
        said, pace, ended = self._said, self._pace, 0
        for when in moments:
            while ended < len(self._growing) and self._growing[ended][0] <= when:
                said += self._growing[ended][1]
                pace -= self._growing[ended][2]
                ended += 1
            yield said + pace * (when - self.now)

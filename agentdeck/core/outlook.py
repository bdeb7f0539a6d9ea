"""How many output tokens the answers under way may still add, and by when.

A server counts an output token when it is generated, or all of an answer's when it ends. While an answer is under
way its tokens therefore count as now, and once it has ended they count for one window from then. What an
answer has not said yet does not count yet, but it must fit by the time it is said: into what the window has
freed by then. So a call is admitted where, at each of several moments ahead, what still counts then plus what all
answers under way can have become by then stays within the limit.

No answer is longer than its `most`, nor grows faster than its `pace`. Within that, lengths are not known; the sum
of many is, nearly: it stays below its mean plus DEVIATIONS standard deviations. As answers may all become longer
at once (the task changed), that is trusted only so far: at most SPARE of the limit may be exceeded if every
answer under way becomes as long as it can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf, sqrt
from typing import NamedTuple

#: Moments ahead that are looked at, as shares of the window.
AHEAD = (0.0, 1 / 60, 1 / 30, 1 / 15, 2 / 15, 4 / 15, 8 / 15, 1.0)
#: How far above its mean the sum of answers may come. Chosen on generated mixes: with 3, windows are exceeded by
#: up to a twentieth; with 7, limits of less than ten times the longest answer are used by a twentieth less.
DEVIATIONS = 5.0
#: The same for a server that counts an answer's tokens from its beginning: what it will have said must fit then.
DEVIATIONS_AT_START = 3.0
SPARE = 0.2


class Forecast(NamedTuple):
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


class Sum(NamedTuple):
    """What several answers come to: mean, variance, and the most."""

    likely: float = 0.0
    variance: float = 0.0
    most: float = 0.0

    def plus(self, likely: float, variance: float, most: float) -> Sum:
        return Sum(self.likely + likely, self.variance + variance, self.most + most)

    def needs(self, deviations: float, spare: float) -> float:
        """How much room they need, where `spare` more than that is all that may ever be exceeded."""
        return max(min(self.most, self.likely + deviations * sqrt(self.variance)), self.most - spare)


class Outlook:
    """All answers under way, as one that is `now` sees them. `started` is what those come to in the end that were
    sent within the window."""

    __slots__ = ("ahead", "now", "started", "whens")

    def __init__(self, now: float, seconds: float) -> None:
        self.now = now
        self.whens = [now + share * seconds for share in AHEAD]
        self.ahead = [Sum() for _ in AHEAD]
        self.started = Sum()

    def add(self, most: float, forecast: Forecast | None, recent: bool) -> None:
        self.ahead = list(self._with(most, forecast))
        if recent:
            self.started = self._started_with(most, forecast)

    def needs(self, most: float, forecast: Forecast | None, count: float) -> Iterable[tuple[float, float]]:
        """With one more answer: how much room is needed, at each moment ahead."""
        for when, total in zip(self.whens, self._with(most, forecast), strict=True):
            yield when, total.needs(DEVIATIONS, SPARE * count)

    def needs_started(self, most: float, forecast: Forecast | None, count: float) -> float:
        """With one more: what all that were sent within the window come to in the end."""
        return self._started_with(most, forecast).needs(DEVIATIONS_AT_START, inf)

    def _with(self, most: float, forecast: Forecast | None) -> Iterator[Sum]:
        for when, total in zip(self.whens, self.ahead, strict=True):
            if forecast is None:
                yield total.plus(most, 0.0, most)
                continue
            by = forecast.by(when, most)
            variance = min(forecast.spread, max(0.0, by - forecast.said) / 2) ** 2
            yield total.plus(min(forecast.likely, by), variance, by)

    def _started_with(self, most: float, forecast: Forecast | None) -> Sum:
        if forecast is None:
            return self.started.plus(most, 0.0, most)
        return self.started.plus(min(most, forecast.likely), forecast.spread**2, most)

"""How many output tokens the answers under way may still add, and by when.

A server counts an output token when it is generated, or all of an answer's when it ends. While an answer is under
way its tokens therefore count as now, and once it has ended they count for one window from then. What an
answer has not said yet does not count yet, but it must fit by the time it is said: into what the window has
freed by then. So a call is admitted where, at each of several moments ahead, what still counts then plus the most
that all answers under way can have said by then stays within the limit. No answer is longer than its `most`, nor
grows faster than its `pace`.

Reserving less, the sum that is likely, was measured as well: with the mean plus five standard deviations, limits
of three to ten times the longest answer are used by 10 to 12 percent more, but a window was exceeded when the
lengths of all answers changed at once. A limit that holds is worth more than that.

What is said between two of these moments is not looked at: mixes that were made to break it exceed a limit by up
to 1.6 percent. Keeping 2 percent more free later left 0.3 percent of that, and cost 2 percent of use.

A server may also count an answer when its request comes in. It cannot know the length by then, so no reservation
of ours can bound what it counts exactly: the likely sum plus DEVIATIONS standard deviations is kept free.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, sqrt
from typing import NamedTuple

#: Moments ahead that are looked at, as shares of the window. After the last one comes the end of all answers that
#: are under way: some take longer than a window, and may end together.
AHEAD = (0.0, 1 / 60, 1 / 30, 1 / 15, 2 / 15, 4 / 15, 8 / 15, 1.0)
#: How far above its mean the sum of answers may come, for a server that counts them from their beginning.
DEVIATIONS = 3.0


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


class Total(NamedTuple):
    """What several answers come to in the end: mean, variance, and the most."""

    likely: float = 0.0
    variance: float = 0.0
    most: float = 0.0

    def plus(self, most: float, forecast: Forecast | None) -> Total:
        if forecast is None:
            return Total(self.likely + most, self.variance, self.most + most)
        likely = self.likely + min(most, forecast.likely)
        return Total(likely, self.variance + forecast.spread**2, self.most + most)

    @property
    def needs(self) -> float:
        """How much room they need."""
        return min(self.most, self.likely + DEVIATIONS * sqrt(self.variance))


class Outlook:
    """All answers under way, as one that is `now` sees them. `started` is what those come to in the end that were
    sent within the window."""

    __slots__ = ("ahead", "now", "started", "whens")

    def __init__(self, now: float, seconds: float) -> None:
        self.now = now
        self.whens = [*(now + share * seconds for share in AHEAD), inf]
        self.ahead = [0.0] * len(self.whens)
        self.started = Total()

    def add(self, most: float, forecast: Forecast | None, recent: bool) -> None:
        self.ahead = [needs for _, needs in self.needs(most, forecast)]
        if recent:
            self.started = self.started.plus(most, forecast)

    def needs(self, most: float, forecast: Forecast | None) -> Iterable[tuple[float, float]]:
        """With one more answer: how much room is needed, at each moment ahead."""
        for when, total in zip(self.whens, self.ahead, strict=True):
            yield when, total + (most if forecast is None else forecast.by(when, most))

    def needs_started(self, most: float, forecast: Forecast | None) -> float:
        """With one more: what all that were sent within the window come to in the end."""
        return self.started.plus(most, forecast).needs

"""`concurrent: auto`: how many calls at once a provider takes best, found by trying.

Additive increase, multiplicative decrease (Chiu and Jain; as TCP does): while all places are taken, one more for
each round of calls that end well, twice as many each round until the first setback; a third fewer on a 429, and
when calls take twice as long as they did at best.
"""

from __future__ import annotations

FIRST, FEWER, SLOWER = 4.0, 0.7, 2.0
#: By less than so many seconds, calls are slower by chance.
LEAST_SLOWER = 0.05
#: How much the last call counts in what calls take now, and how fast the best of old is forgotten.
RECENT, FADES = 0.2, 1.0001


class Pace:
    """Places at one provider, between 1 and `most`."""

    __slots__ = ("_best", "_now", "_quiet", "_searching", "most", "size")

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = min(FIRST, float(most))
        self._best = self._now = 0.0
        self._quiet = 0.0
        self._searching = True

    @property
    def places(self) -> int:
        return max(1, int(self.size))

    def ended(self, at: float, seconds: float, live: int) -> None:
        """A call ended well after so long, while so many were under way."""
        self._now = seconds if not self._now else self._now + RECENT * (seconds - self._now)
        self._best = self._now if not self._best else min(self._best * FADES, self._now)
        if self._now > SLOWER * self._best and self._now > self._best + LEAST_SLOWER:
            self._fewer(at)
        elif live >= self.places and at >= self._quiet:
            self.size = min(float(self.most), self.size + (1.0 if self._searching else 1.0 / self.size))

    def refused(self, at: float) -> None:
        """It said that it was too much."""
        self._fewer(at)

    def _fewer(self, at: float) -> None:
        """Once for all that was under way by then: they tell of the same crowd."""
        if at < self._quiet:
            return
        self._searching = False
        if self.size == 1.0:
            self._best = self._now  # fewer would not help: that is how long they take now
        self.size = max(1.0, self.size * FEWER)
        self._quiet = at + self._now

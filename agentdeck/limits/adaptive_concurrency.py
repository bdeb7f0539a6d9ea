"""`concurrent: auto`: how many calls at once a provider takes best, found by trying.

Additive increase, multiplicative decrease (Chiu and Jain; as TCP does): while all places are taken, one more for
each round of calls that end well, twice as many each round until the first setback; a third fewer when calls take
twice as long as they did at best. A call that is refused (429) takes its own place away, and all that are refused
in one round at most a third: the decrease follows the share that is refused, as in DCTCP (Alizadeh and others).
With a third for each 429, one per cent of them at random left a quarter of 64 places.
"""

from __future__ import annotations

FIRST, FEWER, SLOWER = 4.0, 0.7, 2.0
#: A round in which a smaller share was refused is no setback.
SETBACK = 0.1
#: After a refused call, about so many others pass before there is a place more. A provider that refuses all above
#: its number then refuses a tenth of the calls at most, half of what holds all of them back.
PASS = 8
#: By less than so many seconds, calls are slower by chance.
LEAST_SLOWER = 0.05
#: How much the last call counts in what calls take now, and how fast the best of old is forgotten.
RECENT, FADES = 0.2, 1.0001


class AdaptiveConcurrency:
    """Places at one provider, between 1 and `most`."""

    __slots__ = ("_best", "_grow_at", "_now", "_quiet", "_refused", "_round", "_searching", "most", "size")

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = min(FIRST, float(most))
        self._best = self._now = 0.0
        self._quiet = self._grow_at = 0.0
        self._round = 0.0, self.size  # when it ends, and how many places there were at its beginning
        self._refused = 0
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
        elif live >= self.places and at >= max(self._quiet, self._grow_at):
            self.size = min(float(self.most), self.size + (1.0 if self._searching else 1.0 / self.size))

    def refused(self, at: float) -> None:
        """It said that it was too much."""
        if at < self._quiet:
            return
        if at >= self._round[0]:
            self._round, self._refused = (at + self._now, self.size), 0
        self._refused += 1
        end, before = self._round
        share = self._refused / before
        self.size = max(1.0, min(self.size, before * (1.0 - min(share, 1.0 - FEWER))))
        if share >= SETBACK:
            self._searching = False
        self._grow_at = at + PASS / self.size * self._now
        if share >= 1.0 - FEWER:
            self._quiet = end

    def _fewer(self, at: float) -> None:
        """Once for all that was under way by then: they tell of the same crowd."""
        if at < self._quiet:
            return
        self._searching = False
        if self.size == 1.0:
            self._best = self._now  # fewer would not help: that is how long they take now
        self.size = max(1.0, self.size * FEWER)
        self._quiet = at + self._now

"""`concurrent: auto`: the number of concurrent calls that a provider handles best, found by trying.

Additive increase, multiplicative decrease (Chiu and Jain; as TCP does): while all places are in use, one place
more per round of successful calls, twice as many each round until the first setback; 30 % fewer when calls take
twice as long as they did at best. A refused call (429) takes its own place away, and all calls refused in one
round take at most 30 %: the decrease follows the share that is refused, as in DCTCP (Alizadeh and others). With
30 % per 429, one per cent of random 429s left a quarter of 64 places."""

from __future__ import annotations

FIRST, DECREASE, SLOWER = 4.0, 0.7, 2.0
#: A round in which a smaller share was refused is no setback.
SETBACK = 0.1
#: Calls that must end after a refused one before a place is added. A provider that refuses all calls above its
#: own limit then refuses at most a tenth of them, half of the share that would hold all calls back.
CALLS_PER_INCREASE = 8
#: Seconds. Calls that are slower by less are slower by chance.
LEAST_SLOWER = 0.05
#: The weight of the last call in the current duration, and the factor by which the best duration grows per call.
RECENT, FADES = 0.2, 1.0001


class AdaptiveConcurrency:
    """The number of places at one provider, between 1 and `most`."""

    __slots__ = ("_best", "_grow_at", "_now", "_quiet", "_refused", "_round", "_searching", "most", "size")

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = min(FIRST, float(most))
        self._best = self._now = 0.0
        self._quiet = self._grow_at = 0.0
        self._round = 0.0, self.size  # when it ends, and the number of places at its beginning
        self._refused = 0
        self._searching = True

    @property
    def places(self) -> int:
        return max(1, int(self.size))

    def record_success(self, at: float, seconds: float, live: int) -> None:
        """A call succeeded after this time, while `live` calls were under way."""
        self._now = seconds if not self._now else self._now + RECENT * (seconds - self._now)
        self._best = self._now if not self._best else min(self._best * FADES, self._now)
        if self._now > SLOWER * self._best and self._now > self._best + LEAST_SLOWER:
            self._decrease(at)
        elif live >= self.places and at >= max(self._quiet, self._grow_at):
            self.size = min(float(self.most), self.size + (1.0 if self._searching else 1.0 / self.size))

    def record_refusal(self, at: float) -> None:
        """The provider refused a call with 429."""
        if at < self._quiet:
            return
        if at >= self._round[0]:
            self._round, self._refused = (at + self._now, self.size), 0
        self._refused += 1
        end, before = self._round
        share = self._refused / before
        self.size = max(1.0, min(self.size, before * (1.0 - min(share, 1.0 - DECREASE))))
        if share >= SETBACK:
            self._searching = False
        self._grow_at = at + CALLS_PER_INCREASE / self.size * self._now
        if share >= 1.0 - DECREASE:
            self._quiet = end

    def _decrease(self, at: float) -> None:
        """Once for all calls that were under way then: they measured the same overload."""
        if at < self._quiet:
            return
        self._searching = False
        if self.size == 1.0:
            self._best = self._now  # fewer places would not help: this is how long calls take now
        self.size = max(1.0, self.size * DECREASE)
        self._quiet = at + self._now

"""`concurrent: auto`: the number of concurrent calls that a provider handles best, found by trying.

Additive increase, multiplicative decrease (Chiu and Jain; as TCP does). While all places are in use, each window
of successful calls adds one place; in the beginning, and after CLEAN windows in a row, it adds more. What takes
places away:

- Refused calls (429, 503, 529). Each takes its own place away, all calls of one window at most half: the decrease
  follows the share that is refused, as in DCTCP (Alizadeh and others). Halving once per round trip, one per cent
  of random 429s leaves a quarter of 64 places, and a limit that moves 68 to 89 % of the best fixed setting where
  this finds 103 to 118 % (benchmarks/results.md). A provider whose limit has fallen far refuses half and more.
- Slow answers: the time until the first text, or the time per output token, is twice as long as at best. As many
  places go as only wait, by Little's law, at most half. Total times are no measure: see `answer_speed`.

All calls that were sent before a decrease belong to it, and never cause a second one. Where fewer places made
nothing faster, the provider is slow for another reason, and that is its best from now on."""

from __future__ import annotations

from agentdeck.limits.answer_speed import AnswerSpeed

FIRST, HALF, SLOWER = 4.0, 0.5, 2.0
#: A window in which a smaller share was refused is no setback.
SETBACK = 0.1
#: Calls that must end after a refused one before a place is added. A provider that refuses all calls above its
#: own limit then refuses at most a tenth of them, half of the share that would hold all calls back.
CALLS_PER_INCREASE = 8
#: After so many windows in a row that only added, a window adds a quarter as many places as there are.
CLEAN, FASTER = 3.0, 0.25
#: Seconds. Answers that begin later by less are later by chance.
LEAST_SLOWER = 0.05
#: The weight of the last call in the current value of a measure; and the weight of the current value in its best,
#: which follows it down quickly and up slowly. The calls of one kind that must have ended before it is slow.
RECENT, DOWN, UP = 0.2, 0.1, 0.0002
ENOUGH = 4
#: Fewer places have helped where a measure has fallen below this share of what it was.
HELPED = 0.9


class AdaptiveConcurrency:
    """The number of places at one provider, between 1 and `most`."""

    __slots__ = (
        "_clean", "_grow_at", "_kinds", "_refused", "_round", "_searching", "_seconds", "_since", "most", "size",
    )  # fmt: skip

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = min(FIRST, float(most))
        self._seconds = 0.0  # of a call, on average
        self._since = self._grow_at = 0.0  # calls that were sent before `_since` say nothing new
        self._round = 0.0, self.size  # when it ends, and the number of places at its beginning
        self._refused = 0
        self._clean = 0.0  # windows in a row
        self._searching = True
        self._kinds: dict[tuple[str, str], _Kind] = {}

    @property
    def places(self) -> int:
        return max(1, int(self.size))

    def record_success(self, at: float, speed: AnswerSpeed, live: int, kind: tuple[str, str] = ("", "")) -> None:
        """A call succeeded, while `live` calls were under way. Only calls of the same `kind`, the model and the
        agent, are compared: their prompts and answers are alike."""
        self._seconds += RECENT * (speed.seconds - self._seconds) if self._seconds else speed.seconds
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = _Kind()
        sent_before = at - speed.seconds < self._since
        found.add(speed, sent_before)
        if sent_before:
            return
        waiting = found.waiting(self._seconds)
        if waiting > 0.0:
            self._decrease(at, waiting)
        elif live >= self.places and at >= self._grow_at:
            self._clean += 1.0 / self.size
            step = 1.0 if self._searching else 1.0 / self.size
            if not self._searching and self._clean > CLEAN:
                step = max(step, FASTER)
            self.size = min(float(self.most), self.size + step)

    def record_refusal(self, at: float, began: float) -> None:
        """The provider refused a call, which was sent at `began`, because it has too many."""
        if began < self._since:
            return
        if at >= self._round[0]:
            self._round, self._refused = (at + self._seconds, self.size), 0
        self._refused += 1
        self._clean = 0.0
        before = self._round[1]
        share = self._refused / before
        self.size = max(1.0, min(self.size, before * (1.0 - min(share, HALF))))
        if share >= SETBACK:
            self._searching = False
        self._grow_at = at + CALLS_PER_INCREASE / self.size * self._seconds
        if share >= HALF:
            self._since, self._round = at, (0.0, self.size)

    def _decrease(self, at: float, waiting: float) -> None:
        """Take away the share of the places that only waits."""
        self._searching = False
        self._clean = 0.0
        self._since = at
        self.size = max(1.0, self.size * (1.0 - min(waiting, HALF)))
        for kind in self._kinds.values():
            kind.begin_again(lowest=self.size == 1.0)


class _Kind:
    """The speed of the calls of one kind, in three measures: until the first text, per token, and in all where
    neither is known."""

    __slots__ = ("each", "first", "whole")

    def __init__(self) -> None:
        self.first = _Measure(LEAST_SLOWER)
        self.each = _Measure(0.0)
        self.whole = _Measure(LEAST_SLOWER)

    def add(self, speed: AnswerSpeed, sent_before: bool) -> None:
        if speed.first is not None:
            self.first.add(speed.first, sent_before)
        if speed.each is not None:
            self.each.add(speed.each, sent_before)
        if speed.first is None and speed.each is None:
            self.whole.add(speed.seconds, sent_before)

    def waiting(self, seconds: float) -> float:
        """The share of these calls that waits, where calls take so long: 0 where they are as fast as ever."""
        waits = 0.0
        if self.first.slow and seconds > 0:
            waits = (self.first.now - self.first.best) / seconds
        for measure in (self.each, self.whole):
            if measure.slow:
                waits = max(waits, 1.0 - measure.best / measure.now)
        return waits

    def begin_again(self, *, lowest: bool) -> None:
        for measure in (self.first, self.each, self.whole):
            measure.begin_again(lowest)


class _Measure:
    """A value as it is now and at best. `least`: what is larger by less is so by chance."""

    __slots__ = ("_before", "_least", "_many", "best", "now")

    def __init__(self, least: float) -> None:
        self._least = least
        self.best = self.now = 0.0
        self._many = 0
        self._before = 0.0  # the value that took places away

    def add(self, value: float, sent_before: bool) -> None:
        """`sent_before`: by a call that was sent before places were taken away, so it was among too many."""
        if sent_before:
            if self._before:
                self._before += RECENT * (value - self._before)
            return
        self._many += 1
        self.now = value if self._many == 1 else self.now + max(RECENT, 1.0 / self._many) * (value - self.now)
        if not self.best:
            self.best = self.now
        elif self._many >= ENOUGH:
            self.best += (DOWN if self.now < self.best else UP) * (self.now - self.best)
        if self._before and self._many == ENOUGH:
            if self.now > HELPED * self._before:
                self.best = self.now
            self._before = 0.0

    @property
    def slow(self) -> bool:
        return self._many >= ENOUGH and self.now > SLOWER * self.best and self.now > self.best + self._least

    def begin_again(self, lowest: bool) -> None:
        """Fewer places are in use from now on; `lowest`: there cannot be fewer."""
        if self.slow:
            self._before = self.now
            if lowest:
                self.best = self.now
        self._many = 0

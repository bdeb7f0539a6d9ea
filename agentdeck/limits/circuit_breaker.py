"""Whether a provider may be called now: a circuit breaker, and a cool-down after throttling.

The circuit breaker is that of Nygard's "Release It!": it opens when most of the last calls failed, and closes by
probing. Throttling (429) is handled apart from failures, because a provider that throttles works. After both,
calls return gradually: each call that succeeds admits one more, so twice as many each round, as in TCP's slow
start.

All calls that were sent before a decision belong to one burst: they describe the state that led to it, and never
cause a second decision. Only a call that was sent afterwards can make the next wait longer.

Measured in a soak with 2 % failures and 1 % throttles: when each 429 caused a cool-down and each failed call
during the return opened the breaker again, a provider was idle most of the time: 2 of 15 calls per second were
made. docs/rates-and-budgets.md states these rules with these numbers; a test compares them."""

from __future__ import annotations

from collections import deque
from typing import Literal, TypeAlias

#: The breaker considers the last WINDOW_CALLS calls. It opens when at least MIN_CALLS of them have ended and a
#: larger share than MAX_FAILED failed.
WINDOW_CALLS, MIN_CALLS, MAX_FAILED = 20, 10, 0.5
#: Seconds for which it is open: the first time, and at most. The time doubles each time that the probes fail.
FIRST_OPEN, LONGEST_OPEN = 5.0, 60.0
#: All calls are held back when at least MIN_THROTTLED of the last calls were throttled without Retry-After, and a
#: larger share than MAX_THROTTLED. Below that, a 429 delays only the step that got it.
MIN_THROTTLED, MAX_THROTTLED = 3, 0.2
#: Seconds for which they are held back: the first time, and at most. The time doubles each time that the first
#: call afterwards is throttled again.
FIRST_COOL, LONGEST_COOL = 0.5, 60.0
#: The gradual return ends once this many calls may be under way, or twice as many as before it.
RETURNED = 64
NEVER = float("inf")

#: How a call ended, as far as that says something about its provider.
Outcome: TypeAlias = Literal["good", "failed", "throttled"]


class CircuitBreaker:
    """The breaker of one provider in this process. `room` is the number of calls that may be under way during a
    return; None is unlimited. `epoch` counts the decisions: a call belongs to the epoch in which it began."""

    __slots__ = (
        "_cools", "_fresh", "_full", "_live", "_opens", "_peak", "_probing", "_recent", "epoch", "live", "room",
        "until", "why",
    )  # fmt: skip

    def __init__(self) -> None:
        self._recent: deque[Outcome] = deque(maxlen=WINDOW_CALLS)
        self._fresh = True  # a call of this epoch has ended
        self._live = 0  # calls of this epoch
        self._opens = self._cools = 0  # decisions in a row
        self._probing = False
        self._peak = self._full = 0
        self.epoch = 0
        self.live = 0
        self.room: int | None = None
        self.until = 0.0
        self.why = ""

    def blocked_until(self, at: float) -> float | None:
        """Until when no call may begin; NEVER: until one ends. None: a call may begin now."""
        if at < self.until:
            return self.until
        # Calls that hang since before the breaker opened must not prevent its probe.
        live = self._live if self._probing else self.live
        return NEVER if self.room is not None and live >= self.room else None

    def began(self) -> int:
        """A call begins. Returns the epoch to pass to `ended`."""
        self.live += 1
        self._live += 1
        return self.epoch

    def ended(
        self, at: float, outcome: Outcome | None, epoch: int, wait: float | None = None, why: str = ""
    ) -> bool:
        """A call ended; outcome None: in a way that says nothing. `wait` is the Retry-After of a throttled call,
        and `why` describes it. Returns whether this call holds calls back, or for longer than before."""
        self.live -= 1
        new = epoch == self.epoch
        self._live -= new
        if outcome is None:
            return False
        if new and not self._fresh:
            self._recent.clear()  # from here on the window holds calls of this epoch only
            self._fresh = True
        if new or not self._fresh:
            self._recent.append(outcome)
        if outcome == "throttled":
            return self._throttled(at, new, wait, why)
        if not new:
            self._fit()
            return False
        if outcome == "failed":
            return self._failed(at)
        self._cools = 0
        if self.room is not None:
            self.room += 1
            if self.room > self._full:
                self.room, self._opens, self._probing, self.why = None, 0, False, ""
        return False

    def hold_back(self, until: float, why: str) -> bool:
        """Hold all calls back until this time. Returns whether that is later than before."""
        if until <= self.until:
            return False
        self.until, self.why = until, why
        self._decide()
        return True

    def _throttled(self, at: float, new: bool, wait: float | None, why: str) -> bool:
        if not new:
            self._fit()
            if wait is None or at + wait <= self.until:
                return False
            self.until, self.why = at + wait, why
            return True
        if wait is not None:
            return self.hold_back(at + wait, why)
        many = self._recent.count("throttled")
        if not self._cools and (many < MIN_THROTTLED or many <= MAX_THROTTLED * len(self._recent)):
            return False
        self._cools += 1
        why = f"{many} of its last {len(self._recent)} calls were throttled (429)"
        return self.hold_back(at + min(LONGEST_COOL, FIRST_COOL * 2 ** (self._cools - 1)), why)

    def _failed(self, at: float) -> bool:
        bad, many = self._recent.count("failed"), len(self._recent)
        if (many < MIN_CALLS and not self._probing) or bad <= MAX_FAILED * many:
            return False
        self._opens += 1
        probes = "the test call" if many == 1 else f"{bad} of {many} test calls"
        why = f"{probes} failed" if self._probing else f"{bad} of its last {many} calls failed"
        self.hold_back(at + min(LONGEST_OPEN, FIRST_OPEN * 2 ** (self._opens - 1)), why)
        self.room, self._probing = 1, True
        return True

    def _decide(self) -> None:
        """Begin a new epoch. The number of calls admitted when it ends follows from the share of the last calls
        that succeeded: one call where none did, nearly as many as before where nearly all did."""
        self.epoch += 1
        self._peak, self._live, self._fresh = self.live + 1, 0, False
        self._full = max(RETURNED, 2 * self._peak)
        if not self._probing:
            self.room = self._peak
            self._fit()

    def _fit(self) -> None:
        """Adjust `room` while calls of the last epoch end: they show how many the provider could handle."""
        if self.room is not None and not self._fresh and not self._probing:
            good = self._recent.count("good") / len(self._recent) if self._recent else 0.0
            self.room = max(1, int(self._peak * good))

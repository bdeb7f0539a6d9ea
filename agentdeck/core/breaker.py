"""When a provider is left alone, and how calls to it begin again.

The circuit breaker of Nygard's “Release It!”, with a gradual return: after a rest one call goes, and each that
ends well makes room for one more (so twice as many each round, as in TCP's slow start).
"""

from __future__ import annotations

from collections import deque

#: How many of the last calls are looked at, how many there must be, and which share of them may fail.
LOOKS_AT, LEAST, MOST_FAILED = 20, 10, 0.5
FIRST_REST, LONGEST_REST = 5.0, 60.0
#: So many calls at once, and the return is over.
BACK = 64
NEVER = float("inf")


class Breaker:
    """One provider as this process sees it. `room` is how many calls may be under way while it returns; None is
    no bound."""

    __slots__ = ("_recent", "live", "rests", "room", "until", "why")

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=LOOKS_AT)
        self.live = 0
        self.rests = 0
        self.room: int | None = None
        self.until = 0.0
        self.why = ""

    def shut(self, at: float) -> float | None:
        """Until when no call may begin; NEVER: until one ends. None: it may."""
        if at < self.until:
            return self.until
        return NEVER if self.room is not None and self.live >= self.room else None

    def began(self) -> None:
        self.live += 1

    def ended(self, at: float, good: bool | None) -> bool:
        """A call ended: well, badly, or (None) in a way that says nothing. True: it rests from now on."""
        self.live -= 1
        if good is None or at < self.until:
            return False
        if self.room is not None:
            if not good:
                return self._rest(at, "the call that tried it failed")
            self.room += 1
            if self.room > BACK:
                self.room, self.rests, self.why = None, 0, ""
            return False
        self._recent.append(good)
        bad = len(self._recent) - sum(self._recent)
        if len(self._recent) >= LEAST and bad > MOST_FAILED * len(self._recent):
            return self._rest(at, f"{bad} of its last {len(self._recent)} calls failed")
        return False

    def _rest(self, at: float, why: str) -> bool:
        self.rests += 1
        self.until = max(self.until, at + min(LONGEST_REST, FIRST_REST * 2 ** (self.rests - 1)))
        self.room, self.why = 1, why
        self._recent.clear()
        return True

    def cool(self, until: float, why: str) -> None:
        """It asked to be left alone until then; the latest word holds."""
        if until > self.until:
            self.until, self.room, self.why = until, 1, why

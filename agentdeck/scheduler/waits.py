"""How long ready steps wait for which reason, such that the reasons add up to the whole time.

Thousands of steps may be queued, and an event must not cost a look at each. So one clock counts the seconds in
which the run was paused and those in which all workers were busy, and a step takes the difference between when it
became ready and when it starts. What only some steps wait for (`max_parallel`, resources, a provider, a budget)
is an interval of the step: it is opened when the step is set aside, and closed when the step is queued again.
None of this is recorded; the result is, in `StepStarted.waits`."""

from __future__ import annotations

from typing import Final

#: A reason with fewer seconds than this is left out; its time counts as `pool`.
LEAST = 0.0005
HELD, MAX_PARALLEL, PAUSED, POOL, STARTING = "held", "max_parallel", "paused", "pool", "starting"
RESOURCES, PLACE = "resources", "place"


class RunWait:
    """What steps wait for that are not set aside. Plain numbers, since they are compared for each event."""

    FREE: Final = 0  # no run-wide reason: results are being committed, or a call is being reserved
    FULL: Final = 1
    PAUSED: Final = 2


class Wait:
    """One wait of a step, from when it became ready. `aside` is the reason of the open interval, empty where
    there is none; `away` holds the seconds in such intervals in which all workers were busy."""

    __slots__ = ("_full", "_paused", "_since", "aside", "away", "full", "paused", "spent")

    def __init__(self, clock: WaitClock) -> None:
        # One is made for each attempt, so fields that few of them need are set on first use.
        self.paused, self.full = clock.paused, clock.full
        self.spent: dict[str, float] | None = None
        self.aside = ""

    def set_aside(self, clock: WaitClock, reason: str) -> None:
        """From now on the step waits for `reason` and not for a worker."""
        if reason != self.aside:
            self.resume(clock)
            self.aside, self._since, self._paused, self._full = reason, clock.at, clock.paused, clock.full

    def resume(self, clock: WaitClock) -> None:
        """From now on the step waits for a worker again."""
        if self.aside:
            self.add(self.aside, clock.at - self._since - (clock.paused - self._paused))
            self.away += clock.full - self._full
            self.aside = ""

    def add(self, reason: str, seconds: float) -> None:
        """Count seconds that the step waited for `reason`."""
        if self.spent is None:
            self.spent, self.away = {}, 0.0
        self.spent[reason] = self.spent.get(reason, 0.0) + seconds


class WaitClock:
    """Seconds in which the run was paused, and in which all its workers were busy, up to `at`."""

    __slots__ = ("at", "full", "paused", "phase")

    def __init__(self) -> None:
        self.at = self.paused = self.full = 0.0
        self.phase = RunWait.FREE

    def advance(self, at: float) -> None:
        """Set the time. `phase` applied since the time that was set last."""
        if at > self.at:
            if self.phase == RunWait.FULL:
                self.full += at - self.at
            elif self.phase == RunWait.PAUSED:
                self.paused += at - self.at
            self.at = at

    def waits(self, wait: Wait, ready: float, before: dict[str, float] | None) -> dict[str, float] | None:
        """The seconds since `ready` by reason, plus those `before` (a backoff). None where all of it was spent
        waiting for a worker."""
        if self.at - ready < LEAST and not before:
            return None
        wait.resume(self)
        found = {PAUSED: self.paused - wait.paused, POOL: self.full - wait.full}
        if wait.spent is not None:
            found[POOL] -= wait.away
        for reason, seconds in (wait.spent or {}).items():
            found[reason] = found.get(reason, 0.0) + seconds
        found[STARTING] = found.get(STARTING, 0.0) + self.at - ready - sum(found.values())
        kept = {reason: spent for reason, spent in found.items() if reason != POOL and spent >= LEAST}
        if not kept and not before:
            return None
        kept[POOL] = max(0.0, self.at - ready - sum(kept.values()))
        for reason, spent in (before or {}).items():
            kept[reason] = kept.get(reason, 0.0) + spent
        return {reason: round(spent, 6) for reason, spent in kept.items()}

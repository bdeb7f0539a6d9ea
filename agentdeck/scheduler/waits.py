"""For which reason a ready step waits, so that the reasons add up to the whole time.

The machine knows at each moment what keeps a step from starting, but looks at few of them: most stand in a queue
of thousands. So the clock counts the seconds in which the run was paused, and those in which all workers were
busy, and a step takes the difference between when it became ready and when it starts. What only some steps wait
for (a `max_parallel`, a provider, a budget) is an interval of the step: the machine opens it when it sets the
step aside, and closes it when it takes the step up again. None of this is recorded; `StepStarted.waits` is.
"""

from __future__ import annotations

#: Less than this is not told of a reason, in seconds: it goes to `pool`.
LEAST = 0.0005
HELD, MAX_PARALLEL, PAUSED, POOL, STARTING = "held", "max_parallel", "paused", "pool", "starting"


class RunWait:
    """What a step waits for that is not set aside. Plain numbers: they are compared for each event."""

    FREE = 0  # nothing: its needs are being committed, or its call is being reserved
    FULL = 1
    PAUSED = 2


class Wait:
    """One wait of a step, from when it became ready. `aside` is the reason of the open interval, empty where
    there is none; `away` are the seconds of intervals in which all workers were busy."""

    __slots__ = ("_full", "_paused", "_since", "aside", "away", "full", "paused", "spent")

    def __init__(self, clock: WaitClock) -> None:
        # Made for each attempt: what most of them never use is set when it is used.
        self.paused, self.full = clock.paused, clock.full
        self.spent: dict[str, float] | None = None
        self.aside = ""

    def set_aside(self, clock: WaitClock, reason: str) -> None:
        """The step waits for this from now on, and not for a worker."""
        if reason != self.aside:
            self.resume(clock)
            self.aside, self._since, self._paused, self._full = reason, clock.at, clock.paused, clock.full

    def resume(self, clock: WaitClock) -> None:
        """The step waits for a worker again."""
        if self.aside:
            self.add(self.aside, clock.at - self._since - (clock.paused - self._paused))
            self.away += clock.full - self._full
            self.aside = ""

    def add(self, reason: str, seconds: float) -> None:
        """It waited so long for this."""
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
        """It is `at` now; the state was the same since the last time."""
        if at > self.at:
            if self.phase == RunWait.FULL:
                self.full += at - self.at
            elif self.phase == RunWait.PAUSED:
                self.paused += at - self.at
            self.at = at

    def waits(self, wait: Wait, ready: float, before: dict[str, float] | None) -> dict[str, float] | None:
        """How the time since `ready` went, by reason, with what was waited `before` (a backoff). The sum is that
        time. None where all of it was waited for a worker."""
        if self.at - ready < LEAST and not before:
            return None
        wait.resume(self)
        found = {PAUSED: self.paused - wait.paused, POOL: self.full - wait.full}
        if wait.spent is not None:
            found[POOL] -= wait.away
        for reason, seconds in (wait.spent or {}).items():
            found[reason] = found.get(reason, 0.0) + seconds
        found[STARTING] = found.get(STARTING, 0.0) + self.at - ready - sum(found.values())
        told = {reason: spent for reason, spent in found.items() if reason != POOL and spent >= LEAST}
        if not told and not before:
            return None
        told[POOL] = max(0.0, self.at - ready - sum(told.values()))
        for reason, spent in (before or {}).items():
            told[reason] = told.get(reason, 0.0) + spent
        return {reason: round(spent, 6) for reason, spent in told.items()}

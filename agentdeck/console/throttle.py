"""Limits how often work is done: drawing a screen, and work that takes long."""

from __future__ import annotations

import time
from types import TracebackType

#: Work that takes less than this, in seconds, is always due.
LITTLE = 0.001
#: Longer work may take this share of the time.
SHARE = 0.04


class Throttle:
    """Measures work and lets it be due so often that it takes SHARE of the time: `if t.due(): with t: …`."""

    def __init__(self) -> None:
        self._began = self._again = 0.0

    def due(self) -> bool:
        return time.monotonic() >= self._again

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = time.monotonic()
        took = ended - self._began
        self._again = ended + took / SHARE if took > LITTLE else 0.0


FRAME = 0.05
SLOWEST = 0.5
IDLE = 0.5  # seconds between two frames of a run from which nothing comes
IDLE_AFTER = 2.0  # seconds without a new event
BUSY = 0.3  # share of the processor's time that the loop may take before there are fewer frames
MANY = 1000.0  # events in a second above which numbers change faster than they can be read
CROWDED = 0.15  # seconds between two frames where the loop is busy or so many events arrive
COST = 0.008  # processor seconds that a frame may take before there are fewer of them


class FrameRate:
    """`interval` is the time between two frames in seconds. Give every frame's cost to `after_frame`."""

    def __init__(self) -> None:
        self.interval = FRAME
        self._crowded = False
        self._events = 0
        self._cpu = self._clock = self._news = 0.0

    def after_frame(self, cost: float, events: int, *, cpu: float, clock: float) -> None:
        """Choose the interval, after a frame that took `cost` processor seconds. `events` counts all that were
        taken in so far, `cpu` is the processor time of the loop, `clock` a monotonic time."""
        elapsed = max(0.001, clock - self._clock)
        busy, pace = (cpu - self._cpu) / elapsed, (events - self._events) / elapsed
        if events != self._events or not self._clock:
            self._news = clock
        self._events, self._cpu, self._clock = events, cpu, clock
        self._crowded = pace > MANY or busy > (BUSY / 2 if self._crowded else BUSY)
        if cost > COST:
            self.interval = min(SLOWEST, self.interval * 1.5)
        elif clock - self._news > IDLE_AFTER:
            self.interval = IDLE
        elif self._crowded:
            self.interval = max(self.interval, CROWDED)
        elif cost < COST / 2:
            self.interval = FRAME

    def wake(self, clock: float) -> None:
        """Draw at the full rate again: the operator does something, or something has happened."""
        self._news = clock
        self.interval = min(self.interval, CROWDED if self._crowded else FRAME)

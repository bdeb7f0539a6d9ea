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
IDLE = 0.1  # seconds between two frames of a live run from which nothing comes
IDLE_AFTER = 40  # frames without a new event
BUSY = 0.3  # share of the processor's time that the loop may take before there are half as many frames
HALF = 0.1
COST = 0.008  # processor seconds that a frame may take before there are fewer of them


class FrameRate:
    """`interval` is the time between two frames in seconds. Give every frame's cost to `after_frame`."""

    def __init__(self) -> None:
        self.interval = FRAME
        self._idle_frames = self._events = 0
        self._cpu = self._clock = 0.0

    def after_frame(self, cost: float, events: int, *, ended: bool) -> None:
        """Choose the interval, after a frame that took `cost` processor seconds. `events` counts all that were
        taken in so far."""
        self._idle_frames = 0 if events != self._events else self._idle_frames + 1
        self._events = events
        cpu, clock = time.thread_time(), time.monotonic()
        busy = (cpu - self._cpu) / max(0.001, clock - self._clock)
        self._cpu, self._clock = cpu, clock
        if cost > COST:
            self.interval = min(SLOWEST, self.interval * 1.5)
        elif self._idle_frames > IDLE_AFTER:
            self.interval = SLOWEST if ended else IDLE
        elif busy > BUSY:
            self.interval = max(self.interval, HALF)
        elif cost < COST / 2 and busy < BUSY / 2:
            self.interval = FRAME

    def key_pressed(self) -> None:
        """Draw at the full rate again: the operator is doing something."""
        self._idle_frames = 0
        self.interval = FRAME

"""The clock of a run: the wall clock without its jumps."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch, never decreasing within a process."""
        ...


class WallClock:
    """The time of day when the clock was made plus the monotonic time since: setting the system clock has no
    effect on a run."""

    def __init__(self) -> None:
        self._base = time.time() - time.monotonic()

    def now(self) -> float:
        return self._base + time.monotonic()

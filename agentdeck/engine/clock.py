"""Clocks of a run: the wall clock without its jumps, and a virtual one that jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import Any, Protocol


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


class LoopClock:
    """The event loop's own time. On a `VirtualLoop`, hours pass in milliseconds."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()


class _JumpingSelector(selectors.DefaultSelector):
    """Selects without waiting and advances the loop's time by the time it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not found and timeout:
            self.passed += timeout
        elif not found and timeout is None:
            # No timer is set: only another thread can wake the loop.
            found = super().select(0.05)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer as soon as no callback is ready.

    The idea is trio's MockClock with autojump. For runs whose steps only wait on this loop; work in threads or
    processes takes no virtual time.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.passed


def virtual() -> dict[str, Any]:
    """`anyio.run(main, backend_options=virtual())` runs on virtual time."""
    return {"loop_factory": VirtualLoop}

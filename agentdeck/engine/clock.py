"""The run's clock: the wall, without its jumps; or a virtual one that jumps when everybody waits."""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import Any, Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch, never going back while the process lives."""
        ...


class WallClock:
    """The time of day when the process began plus what has passed since: setting the system clock changes
    nothing that is under way."""

    def __init__(self) -> None:
        self._base = time.time() - time.monotonic()

    def now(self) -> float:
        return self._base + time.monotonic()


class LoopClock:
    """The event loop's own time. On a `VirtualLoop`, hours pass in milliseconds."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()


class _Jumping(selectors.DefaultSelector):
    """Selects without waiting and lets the loop's time jump by what it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not found and timeout:
            self.passed += timeout
        elif not found and timeout is None:
            # Nothing is due ever: only another thread can bring news.
            found = super().select(0.05)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer as soon as nothing is left to do.

    The idea is trio's MockClock with autojump. For runs whose steps only wait on this loop; work in threads or
    processes takes no virtual time.
    """

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.passed


def virtual() -> dict[str, Any]:
    """`anyio.run(main, backend_options=virtual())` runs on virtual time."""
    return {"loop_factory": VirtualLoop}

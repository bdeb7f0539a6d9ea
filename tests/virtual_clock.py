"""A clock and an event loop on which hours pass in milliseconds: time jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


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

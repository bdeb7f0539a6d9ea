"""Log lines of attempts, before they are written to the store."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

LINES_PER_ATTEMPT = 20_000
CHARACTERS_PER_LINE = 65_536


class LogLine(NamedTuple):
    """One line that an attempt logged."""

    at: float
    task: str
    step: str
    attempt: int
    level: str
    text: str


class AttemptLog:
    """The log of one attempt, callable from any thread. Lines beyond the bounds are counted, and reported by
    `close`."""

    __slots__ = ("_alive", "_count", "_dropped", "_now", "_out", "_place")

    def __init__(
        self,
        out: deque[LogLine],
        now: Callable[[], float],
        alive: Callable[[], None],
        place: tuple[str, str, int],
    ) -> None:
        self._out = out
        self._now = now
        self._alive = alive
        self._place = place
        self._count = 0
        self._dropped = 0

    def __call__(self, text: str, level: str = "info") -> None:
        self._alive()
        at, place = self._now(), self._place
        for line in str(text).splitlines() or [""]:
            self._count += 1
            if self._count > LINES_PER_ATTEMPT:
                self._dropped += 1
                continue
            if len(line) > CHARACTERS_PER_LINE:
                line = f"{line[:CHARACTERS_PER_LINE]}… {len(line) - CHARACTERS_PER_LINE:,} characters dropped"
            self._out.append(LogLine(at, *place, level, line))

    def close(self) -> None:
        if self._dropped:
            self._out.append(LogLine(self._now(), *self._place, "warning", f"… {self._dropped:,} lines dropped"))
            self._dropped = 0

"""Log lines of attempts, before they are written to the store."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
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


@dataclass(slots=True, eq=False)
class AttemptLog:
    """The log of one attempt, callable from any thread. Lines beyond the bounds are counted, and reported by
    `close`."""

    _out: deque[LogLine]
    _now: Callable[[], float]
    _alive: Callable[[], None]
    _place: tuple[str, str, int]
    _count: int = field(default=0, init=False)
    _dropped: int = field(default=0, init=False)

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

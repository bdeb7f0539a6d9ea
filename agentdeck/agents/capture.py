"""What agents print and log goes to their own log, never to the terminal.

`sys.stdout` and `sys.stderr` are replaced by routers while runs execute; a context variable says whose attempt is
printing. It is copied into tasks and threads, so it holds there too. Outside of attempts the real streams serve.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO, TypeAlias

Say: TypeAlias = Callable[..., None]

#: The log of the attempt that is running here; None outside of attempts.
current: ContextVar[Say | None] = ContextVar("agentdeck_log", default=None)

LONGEST = 65_536
_lock = threading.Lock()
_depth = 0
_restore: tuple[Any, Any] = (None, None)


class Router:
    """A text stream that belongs to whoever writes to it."""

    def __init__(self, real: TextIO, level: str) -> None:
        self._real = real
        self._level = level
        self._parts: dict[int, str] = {}

    def write(self, text: str) -> int:
        say = current.get()
        if say is None:
            return self._real.write(text)
        key = id(say)
        whole = self._parts.pop(key, "") + str(text)
        *lines, rest = whole.split("\n")
        if len(rest) > LONGEST:
            lines.append(rest)
            rest = ""
        if lines:
            say("\n".join(line.removesuffix("\r") for line in lines), self._level)
        if rest:
            self._parts[key] = rest
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def finish(self, say: Say) -> None:
        """What was printed without a line's end is a line as well."""
        rest = self._parts.pop(id(say), "")
        if rest:
            say(rest, self._level)

    def flush(self) -> None:
        if current.get() is None:
            self._real.flush()

    def isatty(self) -> bool:
        return current.get() is None and self._real.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Records(logging.Handler):
    """Log records of agents, with their level."""

    def emit(self, record: logging.LogRecord) -> None:
        say = current.get()
        if say is not None:
            try:
                say(self.format(record), record.levelname.lower())
            except Exception as error:
                say(f"a log record could not be formatted: {error}", "warning")


_handler = Records()


@contextmanager
def capture() -> Iterator[None]:
    """While this lasts, agents' output is routed. May be nested, also over threads; the last one out restores."""
    global _depth, _restore
    with _lock:
        _depth += 1
        if _depth == 1:
            _restore = (sys.stdout, sys.stderr)
            sys.stdout, sys.stderr = Router(sys.stdout, "out"), Router(sys.stderr, "err")
            logging.getLogger().addHandler(_handler)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                sys.stdout, sys.stderr = _restore
                logging.getLogger().removeHandler(_handler)


def finish(say: Say) -> None:
    """An attempt is over: what it printed last is said."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Router):
            stream.finish(say)

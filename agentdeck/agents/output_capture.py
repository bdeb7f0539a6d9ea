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
current: ContextVar[AttemptOutput | None] = ContextVar("agentdeck_log", default=None)

LONGEST = 65_536
_lock = threading.Lock()
_printing = threading.Lock()
_depth = 0
_restore: tuple[Any, Any] = (None, None)
_silenced: list[logging.Handler] = []


class AttemptOutput:
    """One attempt's log as what prints sees it: lines that are not ended yet are kept here, by level, so they
    end with the attempt and are never another one's."""

    __slots__ = ("_parts", "_say")

    def __init__(self, say: Say) -> None:
        self._say = say
        self._parts: dict[str, str] | None = None

    def __call__(self, text: str, level: str = "info") -> None:
        self._say(text, level)

    def print(self, text: str, level: str) -> None:
        """Say the lines that are complete with this. From any thread of the attempt."""
        with _printing:
            parts = self._parts
            if parts is None:
                parts = self._parts = {}
            if "\n" not in text and len(text) <= LONGEST:
                rest = parts[level] = parts.get(level, "") + text
                if len(rest) <= LONGEST:
                    return
                lines, parts[level] = [rest], ""
            else:
                *lines, rest = (parts.get(level, "") + text).split("\n")
                if len(rest) > LONGEST:
                    lines.append(rest)
                    rest = ""
                parts[level] = rest
        self._say("\n".join(line.removesuffix("\r") for line in lines), level)

    def finish(self) -> None:
        """What was printed without a line's end is a line as well."""
        if self._parts is None:
            return
        with _printing:
            parts, self._parts = self._parts, None
        for level, rest in parts.items():
            if rest:
                self._say(rest, level)


class RoutedStream:
    """A text stream that belongs to whoever writes to it."""

    def __init__(self, real: TextIO, level: str) -> None:
        self._real = real
        self._level = level

    def write(self, text: str) -> int:
        voice = current.get()
        if voice is None:
            return self._real.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        voice.print(text, self._level)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if current.get() is None:
            self._real.flush()

    def isatty(self) -> bool:
        return current.get() is None and self._real.isatty()

    def close(self) -> None:
        """An agent cannot close what all print to."""
        if current.get() is None:
            self._real.close()

    @property
    def buffer(self) -> Any:
        """For those who print bytes."""
        return self._real.buffer if current.get() is None else _RoutedBytes(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _RoutedBytes:
    """The binary side of a router, while an attempt prints."""

    def __init__(self, router: RoutedStream) -> None:
        self._router = router

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self._router.write(raw.decode("utf-8", "replace"))
        return len(raw)

    def flush(self) -> None:
        self._router.flush()


class LogRecordHandler(logging.Handler):
    """Log records of agents, with their level. Others go where they went before."""

    def emit(self, record: logging.LogRecord) -> None:
        voice = current.get()
        if voice is None:
            last = logging.lastResort
            if last is not None and record.levelno >= last.level and logging.getLogger().handlers == [self]:
                last.handle(record)
            return
        try:
            voice(self.format(record), record.levelname.lower())
        except Exception as error:
            voice(f"a log record could not be formatted: {error}", "warning")


def _others(record: logging.LogRecord) -> bool:
    """Keeps agents' records from handlers that write to the terminal itself."""
    return current.get() is None


_handler = LogRecordHandler()


@contextmanager
def capture() -> Iterator[None]:
    """While this lasts, agents' output is routed. May be nested, also over threads; the last one out restores."""
    global _depth, _restore
    with _lock:
        _depth += 1
        if _depth == 1:
            _restore = (sys.stdout, sys.stderr)
            sys.stdout, sys.stderr = RoutedStream(sys.stdout, "out"), RoutedStream(sys.stderr, "err")
            root = logging.getLogger()
            _silenced[:] = [h for h in root.handlers if getattr(h, "stream", None) in _restore]
            for handler in _silenced:
                handler.addFilter(_others)
            root.addHandler(_handler)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                sys.stdout, sys.stderr = _restore
                logging.getLogger().removeHandler(_handler)
                for handler in _silenced:
                    handler.removeFilter(_others)
                _silenced.clear()

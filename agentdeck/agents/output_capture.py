"""Routes what agents print and log to their own logs, never to the terminal.

`sys.stdout` and `sys.stderr` are replaced while runs execute; a context variable holds the log of the attempt
that is printing. It is copied into tasks and threads, so it is valid there too. Outside of attempts the real
streams are used."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO, TypeAlias

LogCall: TypeAlias = Callable[..., None]

#: The log of the current attempt; None outside of attempts.
current: ContextVar[AttemptOutput | None] = ContextVar("agentdeck_log", default=None)

LONGEST = 65_536
_lock = threading.Lock()
_print_lock = threading.Lock()
_depth = 0
_restore: tuple[Any, Any] = (None, None)
_silenced: list[logging.Handler] = []


class AttemptOutput:
    """One attempt's log for printed text. Incomplete lines are kept here, by level, until the attempt ends, so
    lines of different attempts are never mixed."""

    __slots__ = ("_log", "_parts")

    def __init__(self, log: LogCall) -> None:
        self._log = log
        self._parts: dict[str, str] | None = None

    def __call__(self, text: str, level: str = "info") -> None:
        self._log(text, level)

    def print(self, text: str, level: str) -> None:
        """Log the lines that this text completes. From any thread of the attempt."""
        with _print_lock:
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
        self._log("\n".join(line.removesuffix("\r") for line in lines), level)

    def finish(self) -> None:
        """Log the incomplete lines."""
        if self._parts is None:
            return
        with _print_lock:
            parts, self._parts = self._parts, None
        for level, rest in parts.items():
            if rest:
                self._log(rest, level)


class RoutedStream:
    """A text stream that writes to the log of the attempt that calls it."""

    def __init__(self, real: TextIO, level: str) -> None:
        self._real = real
        self._level = level

    def write(self, text: str) -> int:
        output = current.get()
        if output is None:
            return self._real.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        output.print(text, self._level)
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
        """Closes the real stream, outside of attempts only."""
        if current.get() is None:
            self._real.close()

    @property
    def buffer(self) -> Any:
        """The stream for bytes."""
        return self._real.buffer if current.get() is None else _RoutedBytes(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _RoutedBytes:
    """The binary side of a routed stream, for attempts."""

    def __init__(self, router: RoutedStream) -> None:
        self._router = router

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self._router.write(raw.decode("utf-8", "replace"))
        return len(raw)

    def flush(self) -> None:
        self._router.flush()


class LogRecordHandler(logging.Handler):
    """Writes log records of agents to their logs. Other records go where they went before."""

    def emit(self, record: logging.LogRecord) -> None:
        output = current.get()
        if output is None:
            last = logging.lastResort
            if last is not None and record.levelno >= last.level and logging.getLogger().handlers == [self]:
                last.handle(record)
            return
        try:
            output(self.format(record), record.levelname.lower())
        except Exception as error:
            output(f"a log record could not be formatted: {error}", "warning")


def _is_not_an_agents(record: logging.LogRecord) -> bool:
    """Keeps agents' records from handlers that write to the terminal."""
    return current.get() is None


_handler = LogRecordHandler()


@contextmanager
def capture() -> Iterator[None]:
    """Routes agents' output in the context. May be nested, also across threads; the last to leave restores the
    streams."""
    global _depth, _restore
    with _lock:
        _depth += 1
        if _depth == 1:
            _restore = (sys.stdout, sys.stderr)
            sys.stdout, sys.stderr = RoutedStream(sys.stdout, "out"), RoutedStream(sys.stderr, "err")
            root = logging.getLogger()
            _silenced[:] = [h for h in root.handlers if getattr(h, "stream", None) in _restore]
            for handler in _silenced:
                handler.addFilter(_is_not_an_agents)
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
                    handler.removeFilter(_is_not_an_agents)
                _silenced.clear()

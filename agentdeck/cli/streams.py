"""The standard streams of this process: present, and with errors that name the stream.

A shell can start a process with a stream closed (`>&-`). Python then sets `sys.stdout` to None, and the next file
that is opened gets the free descriptor, so that output would be written into that file. `prepare` opens a device
in its place that refuses to be written.

stdout is data: a write that fails raises `OutputError`. stderr is narration: what cannot be written there is
dropped: a run must not end because its narration cannot be written.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from agentdeck.errors import OutputError, PipeClosed

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Stdout(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise PipeClosed("stdout: closed by the process that reads it") from None
        except OSError as error:
            what = "it is closed" if error.errno == errno.EBADF else error.strerror
            raise OutputError(f"stdout: {what}; the output is lost") from None


class _Stderr(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def prepare() -> None:
    """Make the three streams usable. Streams that a test or an embedding program has replaced stay unchanged."""
    for number, how in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):  # a write to 1 or 2 is refused
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, how)  # opens with the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if _is_own(sys.stdout, 1):
        sys.stdout = stdout(1)
    if _is_own(sys.stderr, 2):
        sys.stderr = _text(_Stderr(2, "w", closefd=False), sys.stderr, "backslashreplace")


def stdout(number: int) -> TextIO:
    """A text stream for data on this descriptor."""
    return _text(_Stdout(number, "w", closefd=False), sys.stdout, "strict")


def flush() -> None:
    """Write what stdout still buffers. Raises OutputError."""
    sys.stdout.flush()


def discard() -> None:
    """Discard what stdout still buffers, so that the interpreter does not try to write it at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_own(stream: Any, number: int) -> bool:
    if stream is None:
        return True
    try:
        return bool(stream.fileno() == number)
    except (OSError, ValueError, AttributeError):
        return False


def _text(raw: io.FileIO, old: TextIO | None, errors: str) -> TextIO:
    if old is not None:
        with contextlib.suppress(OSError, ValueError):
            old.flush()
    terminal = raw.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=old.encoding if old is not None else "utf-8",
        errors=(old.errors if old is not None else None) or errors,
        line_buffering=terminal or isinstance(raw, _Stderr),
    )

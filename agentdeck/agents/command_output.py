"""The output of a command: its lines go to the step's log, its tail to the result or the failure."""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Callable
from typing import Protocol

from agentdeck.agents.verb import AttemptContext
from agentdeck.errors import StepError
from agentdeck.workflow.json_text import strict_json
from agentdeck.workflow.model import Data

MB = 1024 * 1024
#: Bytes that are kept of each stream.
MOST = {"out": 4 * MB, "err": 64 * 1024}
MOST_LINES = 20_000
LONGEST_LINE = 64 * 1024
CHUNK = 64 * 1024
#: Characters at the end of each stream that a failure includes.
FAILURE_TAIL = 8_000


class OutputLog:
    """The attempt's log: at most MOST_LINES lines of both streams together."""

    def __init__(self, work: AttemptContext, hide: Callable[[str], str]) -> None:
        self.work = work
        self.hide = hide
        self.lines = 0
        self.dropped = 0

    def add(self, line: bytes, level: str) -> None:
        if self.lines >= MOST_LINES:
            self.dropped += 1
            return
        self.lines += 1
        self.work.log(line.removesuffix(b"\r").decode("utf-8", "replace"), level)

    def finish(self) -> None:
        if self.dropped:
            self.work.log(f"… {self.dropped:,} lines dropped", "out")
            self.dropped = 0


class LineLog(Protocol):
    """Takes the lines of a program. `lines` counts those that were logged, `dropped` those beyond MOST_LINES."""

    work: AttemptContext
    hide: Callable[[str], str]
    lines: int
    dropped: int

    def add(self, line: bytes, level: str) -> None: ...


class OutputStream:
    """One of the two streams: its lines go to the log, its tail is kept. A line longer than `longest` is cut."""

    def __init__(self, log: LineLog, level: str, longest: int = LONGEST_LINE) -> None:
        self.log = log
        self.level = level
        self.longest = longest
        self.most = MOST[level]
        self.total = 0
        self.kept = bytearray()
        self._line = bytearray()

    async def read(self, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(CHUNK):
            self.take(chunk)
            await asyncio.sleep(0)  # yields to other tasks

    def take(self, chunk: bytes) -> None:
        self.total += len(chunk)
        self.kept += chunk
        if len(self.kept) > self.most + MB:
            del self.kept[: -self.most]
        self.log.work.alive()
        first, *rest = chunk.split(b"\n")
        self._grow(first)
        if self.log.lines >= MOST_LINES and rest:
            self.log.dropped += len(rest)
            self._line = bytearray(rest[-1][: self.longest + 1])
            return
        for part in rest:
            self._flush()
            self._grow(part)

    def _grow(self, part: bytes) -> None:
        self._line += part[: max(0, self.longest + 1 - len(self._line))]

    def _flush(self) -> None:
        cut = len(self._line) > self.longest
        self.log.add(
            bytes(self._line[: self.longest - 4]) + " …".encode() if cut else bytes(self._line), self.level
        )
        self._line = bytearray()

    def finish(self) -> None:
        if self._line:
            self._flush()

    def text(self) -> str:
        return self.log.hide(self.kept[-self.most :].decode("utf-8", "replace"))

    def tail(self) -> str:
        """The last FAILURE_TAIL characters, cut only after secrets were hidden."""
        text = bytes(self.kept[-8 * FAILURE_TAIL :]).decode("utf-8", "replace")
        return self.log.hide(text)[-FAILURE_TAIL:].rstrip()

    def cut_note(self) -> str:
        """A note for where `tail` is not the whole output."""
        if self.total <= FAILURE_TAIL:
            return ""
        return f" ({self.total:,} bytes, the last {FAILURE_TAIL:,} characters)"

    def last_line(self) -> str:
        """The last line that is not empty; "" where its start was not kept."""
        kept = bytes(self.kept[-self.most :]).rstrip()
        start = kept.rfind(b"\n") + 1
        if not start and self.total > self.most and self.level == "out":
            return ""
        return self.log.hide(kept[start:].decode("utf-8", "replace").strip())


def failure(code: int, out: OutputStream, err: OutputStream) -> StepError:
    """The failure of a command: how it ended, and the ends of both streams as its detail. Many programs
    (linters, test runners) report on stdout."""
    streams = [(name, stream) for name, stream in (("stdout", out), ("stderr", err)) if stream.total]
    detail = "\n".join(f"{name}{stream.cut_note()}:\n{stream.tail()}" for name, stream in streams)
    return StepError("exit", _ending(code, err.last_line() or out.last_line()), detail=detail)


def _ending(code: int, last: str) -> str:
    if code >= 0:
        what = f"exited with {code}"
    else:
        try:
            what = f"ended by {signal.Signals(-code).name}"
        except ValueError:
            what = f"ended by signal {-code}"
    last = "".join(c for c in last if c.isprintable())[:500]
    return f"{what}: {last}" if last else what


_NONE = object()


def result_of(out: OutputStream) -> Data:
    last = out.last_line()
    if last[:1] in ("{", "["):
        value = _json(last)
        if value is not _NONE:
            return value
    if out.total > out.most:
        raise StepError(
            "invalid",
            f"wrote {math.ceil(out.total / MB)} MB to stdout, the limit is {out.most // MB} MB; "
            "print the result as one line of JSON at the end",
        )
    text = out.text().strip()
    value = _json(text)
    return text if value is _NONE else value


def _json(text: str) -> Data:
    """The value; _NONE for what is not JSON, which NaN and infinities are not."""
    try:
        return strict_json(text)
    except (ValueError, RecursionError):
        return _NONE

"""What a prompt logs and reports while it streams: the answer's text, its length, the progress of tools."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from agentdeck.agents.attempt_usage import CallUsage
from agentdeck.agents.verb import AttemptContext

#: Seconds after which text that arrived is logged.
WAIT = 0.1
#: A word longer than this is logged in parts.
LONGEST = 200
#: How the lines about a call of a tool begin: before it, after it, and after it where it failed. Telemetry makes
#: spans of them.
CALL, ANSWER, FAILED = "→ ", "← ", "failed: "
#: Seconds between two log lines about the progress of one tool.
PROGRESS_EVERY = 0.5


class TextLog:
    """Collects pieces of text. The log gets whole lines, and at least every `WAIT` seconds the whole words of an
    incomplete line, which then end with a space and continue in the next entry. An empty piece is a sign of
    life."""

    def __init__(self, log: Callable[[str], None], alive: Callable[[], None]) -> None:
        self._write = log
        self._alive = alive
        self._loop = asyncio.get_running_loop()
        self._text = ""
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, piece: str) -> None:
        self._alive()
        if not piece:
            return
        self._text += piece
        if "\n" in piece:
            lines, _, self._text = self._text.rpartition("\n")
            self._log(lines)
        if self._timer is None:
            self._timer = self._loop.call_later(WAIT, self._show)

    def close(self) -> None:
        """Log the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        text, self._text = self._text, ""
        self._log(text)

    def _show(self) -> None:
        self._timer = None
        at = self._text.rfind(" ") + 1
        if not at and len(self._text) > LONGEST:
            at = len(self._text)
        words, self._text = self._text[:at], self._text[at:]
        if words.strip():
            self._write(words)

    def _log(self, text: str) -> None:
        lines = [line.rstrip() for line in text.split("\n")]
        if lines_of := "\n".join(line for line in lines if line):
            self._write(lines_of)


class AnswerProgress:
    """Passes text on, and reports the beginning of the answer and its length."""

    def __init__(self, work: AttemptContext, out: Callable[[str], None], usage: CallUsage) -> None:
        self._work = work
        self._usage = usage
        self._out = out
        self.restart()

    def restart(self) -> None:
        """Begin the next request."""
        self._began = False
        self._characters = 0
        self._report_at = 0

    def __call__(self, piece: str) -> None:
        if not self._began:
            self._began = True
            self._work.answered()
            self._report_at = self._work.grew(0)
        self._out(piece)
        self._characters += len(piece)
        self._usage.said(piece)
        if self._characters >= self._report_at:
            self._report_at = self._work.grew(self._characters)


class ToolProgressLog:
    """Logs progress messages of a tool, of many only one per PROGRESS_EVERY seconds. Each is a sign of life."""

    def __init__(self, work: AttemptContext, name: str) -> None:
        self._work = work
        self._name = name
        self._next = 0.0

    def __call__(self, text: str) -> None:
        self._work.alive()
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_EVERY
            self._work.log(f"… {self._name} {text[:500]}")

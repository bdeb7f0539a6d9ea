"""A model's words on their way to the log: as they come, but not one line for each."""

from __future__ import annotations

import asyncio

from agentdeck.agents.verb import AttemptContext

#: Seconds after which what has come is shown.
WAIT = 0.1
#: A word longer than this is shown in parts.
LONGEST = 200


class TextLog:
    """Takes pieces of text; the log gets whole lines, and at least every `WAIT` the whole words of a line that is
    not complete: these end with a space, and go on in the next ones. An empty piece is a sign of life."""

    def __init__(self, work: AttemptContext) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._text = ""
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, piece: str) -> None:
        self._work.alive()
        if not piece:
            return
        self._text += piece
        if "\n" in piece:
            lines, _, self._text = self._text.rpartition("\n")
            self._log(lines)
        if self._timer is None:
            self._timer = self._loop.call_later(WAIT, self._show)

    def close(self) -> None:
        """Say what is left."""
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
            self._work.log(words)

    def _log(self, text: str) -> None:
        lines = [line.rstrip() for line in text.split("\n")]
        if said := "\n".join(line for line in lines if line):
            self._work.log(said)

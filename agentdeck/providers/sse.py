"""Parses server-sent events."""

from __future__ import annotations

from codecs import BOM_UTF8

from agentdeck.errors import StepError

MB = 1024 * 1024
#: The largest event. A provider sends a few words per event.
MOST_EVENT = 8 * MB


class EventStreamParser:
    """Takes chunks of bytes, split anywhere, and returns the data of each complete event.

    Lines end with LF, CRLF or CR, and a byte order mark at the beginning is skipped, as in the standard.

    Raises StepError of kind `server`, which names `who`, for data that cannot be a stream of events: too large,
    or not UTF-8. Names of events, ids and comments are ignored: both protocols repeat the name in the data."""

    def __init__(self, who: str, most: int = MOST_EVENT) -> None:
        self._who = who
        self._most = most
        self._pieces: list[bytes] = []  # of a line that is not complete
        self._data: list[str] = []
        self._size = 0  # of both
        self._begin: bytes | None = b""  # the first bytes, until there are enough to see a byte order mark
        self._cut = False  # the last chunk ended with a CR, which may be half of a CRLF

    def feed(self, chunk: bytes) -> list[str]:
        found: list[str] = []
        data = self._data
        if self._begin is not None:
            chunk = self._without_mark(chunk)
        if self._cut or b"\r" in chunk:
            chunk = self._with_line_feeds(chunk)
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            if self._pieces:
                self._size -= sum(map(len, self._pieces))
                line = b"".join((*self._pieces, line))
                self._pieces.clear()
            if not line:
                if data:
                    found.append("\n".join(data))
                    data.clear()
                self._size = 0
            elif line.startswith(b"data:"):
                self._grow(len(line))
                data.append(self._text(line[6:] if line[5:6] == b" " else line[5:]))
        if rest:
            self._grow(len(rest))
            self._pieces.append(rest)
        return found

    def end(self) -> list[str]:
        """The stream has ended: the data of an event without its blank line."""
        rest, self._begin = self._begin or b"", None
        return self.feed(rest + b"\n\n")

    def _without_mark(self, chunk: bytes) -> bytes:
        begin = (self._begin or b"") + chunk
        if len(begin) < len(BOM_UTF8) and BOM_UTF8.startswith(begin):
            self._begin = begin
            return b""
        self._begin = None
        return begin.removeprefix(BOM_UTF8)

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        if self._cut and chunk.startswith(b"\n"):
            chunk, self._cut = chunk[1:], False
        if chunk:
            self._cut = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._most:
            most = f"{self._most / MB:g} MB"
            raise StepError("server", f"{self._who} sent more than {most} in one event, which is too large")

    def _text(self, line: bytes) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise StepError(
                "server", f"{self._who} sent text that is not UTF-8 (byte {error.start} of an event)"
            ) from None

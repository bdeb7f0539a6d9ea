"""Messages in order, over a connection where one may overtake another."""

from __future__ import annotations

import struct

_NUMBER = struct.Struct(">Q")


class Numbered:
    """The messages of one direction, each with a number. There is one at each end."""

    def __init__(self) -> None:
        self._next = 0
        self._early: dict[int, bytes] = {}

    def made(self, data: bytes) -> bytes:
        """The next message to the other end."""
        self._next += 1
        return _NUMBER.pack(self._next) + data

    def put(self, message: bytes) -> list[bytes]:
        """What can be taken now that this message has come, in order: nothing where one before it is missing."""
        self._early[_NUMBER.unpack_from(message)[0]] = message[_NUMBER.size :]
        found = []
        while (data := self._early.pop(self._next + 1, None)) is not None:
            self._next += 1
            found.append(data)
        return found

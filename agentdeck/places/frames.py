"""The pipe between the engine and a connector: frames of bytes, each with a kind and a number."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from enum import IntEnum

_HEAD = struct.Struct(">IBI")


class Kind(IntEnum):
    """What a frame is. CONNECT, PROBE and OPEN are answered with DONE or FAILED of the same number. The number of
    an OPEN is that of its host from then on."""

    CONNECT = 1  # JSON: the cluster's class, options, slots and folder
    PROBE = 2  # JSON: a worker, an expression; the answer is its value
    OPEN = 3  # JSON: a worker, the name of the host
    CLOSE = 4  # close the host with this number; all, and the connector, where it is 0
    DONE = 5
    FAILED = 6  # a text
    WORKERS = 7  # JSON: the facts of all workers
    AWAY = 8  # the cluster is out of reach: a text
    DATA = 9  # lines, to a host and from a host
    GONE = 10  # a host is gone: a text


class FramePipe(asyncio.Protocol):
    """One end. `take` is called with each frame, `closed` when the other end is closed. Frames that are sent in
    one turn of the loop are written together."""

    def __init__(self, take: Callable[[Kind, int, bytes], None], closed: Callable[[], None]) -> None:
        self._take = take
        self._closed = closed
        self._transport: asyncio.WriteTransport | None = None
        self._out: list[bytes] = []
        self._in = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()

    async def open(self, end: socket.socket) -> None:
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=end)

    def send(self, kind: Kind, number: int, *payload: bytes) -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(_HEAD.pack(sum(map(len, payload)), kind, number))
        self._out += payload

    async def drain(self) -> None:
        """Wait until the other end has read most of what was sent."""
        await self._writable.wait()

    def close(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(out))

    # The protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is of none of asyncio's classes

    def connection_lost(self, error: Exception | None) -> None:
        self._writable.set()
        self._closed()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._in += data
        at, end = 0, len(self._in)
        while end - at >= _HEAD.size:
            size, kind, number = _HEAD.unpack_from(self._in, at)
            if end - at - _HEAD.size < size:
                break
            at += _HEAD.size
            self._take(Kind(kind), number, bytes(self._in[at : at + size]))
            at += size
        if at:
            del self._in[:at]

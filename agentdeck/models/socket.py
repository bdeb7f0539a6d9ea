"""Sockets for httpcore, of asyncio's own.

Those it has itself go through anyio, which opens a scope for cancellation around each read and write: a quarter
of the work of a call (benchmarks/streaming.py).
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

#: More than this is not read ahead of whoever reads.
AHEAD = 256 * 1024
#: Seconds after which the next address of a host is tried beside the one before.
NEXT_ADDRESS = 0.25


class Sockets(httpcore.AsyncNetworkBackend):
    """How httpcore gets to them."""

    def __init__(self) -> None:
        self._connecting: set[asyncio.Task[Socket]] = set()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if not 0 < port < 65536:
            raise httpcore.ConnectError(f"there is no port {port}")
        # In a task of its own that is not cancelled: asyncio would lose a connection that is just being made.
        task = asyncio.ensure_future(self._connect(host, port, timeout))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_drop)
            raise

    async def _connect(self, host: str, port: int, timeout: float | None) -> Socket:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                _, socket = await loop.create_connection(Socket, host, port, happy_eyeballs_delay=NEXT_ADDRESS)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"no connection within {timeout:g} s") from None
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        return socket

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Socket(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """One connection, for one reader. What is written goes out together when the answer is read: a request is one
    packet, and wakes the server once."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._out: list[bytes] = []
        self._come = bytearray()
        self._over = False
        self._lost: Exception | None = None
        self._reader: asyncio.Future[None] | None = None

    # For httpcore

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._send()
        if not self._come and not self._over:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._reader
            except TimeoutError:
                raise httpcore.ReadTimeout(f"nothing came within {timeout:g} s") from None
            finally:
                self._reader = None
        if not self._come and self._lost is not None:
            raise httpcore.ReadError(str(self._lost)) from self._lost
        data = bytes(self._come[:max_bytes])
        del self._come[:max_bytes]
        if len(self._come) < AHEAD and not self._over:
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._out.append(buffer)

    async def aclose(self) -> None:
        self.drop()

    def drop(self) -> None:
        self._transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self._send()
        try:
            async with asyncio.timeout(timeout):
                secured = await asyncio.get_running_loop().start_tls(
                    self._transport, self, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError:
            self._transport.abort()
            raise httpcore.ConnectTimeout(f"no secure connection within {timeout:g} s") from None
        except OSError as error:  # of ssl, too
            self._transport.abort()
            raise httpcore.ConnectError(str(error)) from error
        except Exception as error:  # asyncio stumbles where one TLS breaks off inside another
            self._transport.abort()
            raise httpcore.ConnectError("no secure connection came about") from error
        if secured is None:
            raise httpcore.ConnectError("the connection was closed")
        self._transport = secured
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # while nobody reads: it is at its end
            return bool(self._come) or self._over or self._pending()
        return self._transport.get_extra_info(info)

    def _pending(self) -> bool:
        """Whether something has come that the loop has not seen yet."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _send(self) -> None:
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    # For asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._come += data
        if len(self._come) >= AHEAD:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._over = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._lost = exc
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def _drop(task: asyncio.Task[Socket]) -> None:
    """Nobody waits for this connection any more."""
    if not task.cancelled() and task.exception() is None:
        task.result().drop()

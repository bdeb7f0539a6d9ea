"""A small HTTP/1.1 server on the loopback interface: h11 for the protocol, asyncio streams for the bytes.

It has what clients of model APIs use: bodies of bounded size, streamed answers, and news that a client has closed
its connection while it waits.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import NamedTuple, TypeAlias

import h11

from agentdeck.workflow.model import Data

HOST = "127.0.0.1"
#: The largest body and the largest head of a request, in bytes.
MOST_BODY, MOST_HEAD = 16 * 1024 * 1024, 64 * 1024
CHUNK = 64 * 1024
#: Seconds that an idle connection stays open.
IDLE = 300.0
#: Seconds and bytes for which a body that is too large is still read.
LINGER, MOST_DISCARDED = 10.0, 8 * MOST_BODY


class HttpRequest(NamedTuple):
    """A request that has been read. The names of `headers` are in lower case; `path` is without the query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class HttpResponse:
    """The answer to one request: whole, or begun and then written in pieces."""

    def __init__(self, connection: _Connection, head: bool) -> None:
        self._connection = connection
        self._head = head
        self._first: list[h11.Event] = []
        self.begun = False

    def on_disconnect(self, call: Callable[[], None]) -> None:
        """Have `call` called if the client closes its connection before the answer has ended."""
        self._connection.on_disconnect = call

    async def send(self, status: int, data: Data, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole answer of JSON."""
        body = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
        self.begin(status, {"content-length": str(len(body)), **(headers or {})}, "application/json")
        await self.end(b"" if self._head else body)

    def begin(
        self, status: int, headers: Mapping[str, str] | None = None, kind: str = "text/event-stream"
    ) -> None:
        """Begin the answer. Its head is sent with the first piece."""
        self.begun = True
        given = {"content-type": kind, "cache-control": "no-store", **(headers or {})}
        self._first.append(h11.Response(status_code=status, headers=list(given.items())))

    async def write(self, data: bytes) -> None:
        first, self._first = self._first, []
        await self._connection.send(*first, h11.Data(data=data))

    async def end(self, data: bytes = b"") -> None:
        """End the answer, with a last piece."""
        first, self._first = self._first, []
        last = [h11.Data(data=data)] if data else []
        await self._connection.send(*first, *last, h11.EndOfMessage())


Handler: TypeAlias = Callable[[HttpRequest, HttpResponse], Awaitable[None]]


class _TooLarge(Exception):
    """The body of a request is larger than MOST_BODY."""


class HttpServer:
    """Calls `handle` for each request. `too_large` is the body of the answer to a request that is too large."""

    def __init__(self, handle: Handler, too_large: Callable[[str], Data]) -> None:
        self._handle = handle
        self._too_large = too_large
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen. Returns the port."""
        self._server = await asyncio.start_server(self._connected, HOST, 0, limit=CHUNK, backlog=512)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Close the server and its connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        connection = _Connection(reader, writer)
        try:
            while await self._serve(connection):
                pass
        except (h11.ProtocolError, ConnectionError, TimeoutError):
            pass  # what a client sends that is not HTTP gets the answer of h11, or none
        except asyncio.CancelledError:
            if self._server is not None:  # only `close` cancels connections
                raise
        finally:
            self._connections.discard(task)
            await connection.close()

    async def _serve(self, connection: _Connection) -> bool:
        """Handle the next request. Returns whether another one may follow."""
        try:
            request = await connection.request()
        except _TooLarge as error:
            response = HttpResponse(connection, head=False)
            await response.send(413, self._too_large(str(error)), {"connection": "close"})
            await connection.discard()
            return False
        except h11.RemoteProtocolError as error:
            await connection.refuse(error.error_status_hint)
            return False
        if request is None:
            return False
        connection.watch()
        try:
            await self._handle(request, HttpResponse(connection, head=request.method == "HEAD"))
        finally:
            await connection.unwatch()
        return connection.next()


class _Connection:
    """One connection: the state of the protocol, and the bytes of both directions."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD)
        self._watch: asyncio.Task[None] | None = None
        self.on_disconnect: Callable[[], None] | None = None

    async def request(self) -> HttpRequest | None:
        """The next request; None where the client has closed the connection. Raises _TooLarge."""
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        length = headers.get("content-length", "0")
        if int(length) > MOST_BODY:
            raise _TooLarge(f"the request has {int(length):,} bytes; at most {MOST_BODY:,} are allowed")
        if self._http.they_are_waiting_for_100_continue:
            await self.send(h11.InformationalResponse(status_code=100, headers=[]))
        body = bytearray()
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                return None
            body += event.data
            if len(body) > MOST_BODY:
                raise _TooLarge(f"the request has more than {MOST_BODY:,} bytes, which is not allowed")
        target = head.target.decode("latin-1").partition("?")[0]
        return HttpRequest(head.method.decode("latin-1"), target, headers, bytes(body))

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            async with asyncio.timeout(IDLE):
                self._http.receive_data(await self._reader.read(CHUNK))
        return event

    async def send(self, *events: h11.Event) -> None:
        data = b"".join(self._http.send(event) or b"" for event in events)
        if data:
            self._writer.write(data)
            await self._writer.drain()

    async def refuse(self, status: int) -> None:
        """Answer a request that is not HTTP."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [("content-length", "0"), ("connection", "close")]
            await self.send(h11.Response(status_code=status, headers=headers), h11.EndOfMessage())

    async def discard(self) -> None:
        """Read what the client still sends. It reads the answer afterwards, and would find its connection reset
        if this were not read."""
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(LINGER):
                left = MOST_DISCARDED
                while left > 0 and (data := await self._reader.read(CHUNK)):
                    left -= len(data)

    def watch(self) -> None:
        """From now on, until `unwatch`, notice that the client closes the connection."""
        self._watch = asyncio.create_task(self._look())

    async def _look(self) -> None:
        data = await self._reader.read(CHUNK)
        if data:  # of the next request
            self._http.receive_data(data)
        elif self.on_disconnect is not None:
            self.on_disconnect()

    async def unwatch(self) -> None:
        self.on_disconnect = None
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await self._watch
            self._watch = None

    def next(self) -> bool:
        """Prepare for another request, where the protocol allows it."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return not self._reader.at_eof()
        return False

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()

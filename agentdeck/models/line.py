"""Where requests to a url go, and the connections that take them there."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.request import getproxies, proxy_bypass

import anyio
import httpcore
import httpx

from agentdeck.models.socket import Sockets
from agentdeck.workflow.model import Data

TIMEOUT = {"connect": 30.0, "read": None, "write": None, "pool": None}
HEADERS = {
    "content-type": "application/json",
    "accept": "text/event-stream",
    "accept-encoding": "identity",
    "user-agent": "agentdeck",
}
#: Seconds that a connection is kept for the next request.
KEPT = 5.0

Connection: TypeAlias = httpcore.AsyncHTTPConnection | httpcore.AsyncConnectionPool


class NoProxy(Exception):
    """The proxy that the environment names cannot be used; says where it was named."""


class Way:
    """To one url, as the environment has its requests sent. Raises httpx.InvalidURL or httpx.UnsupportedProtocol
    for what leads nowhere, and NoProxy."""

    def __init__(self, url: str) -> None:
        to = httpx.URL(url)
        if to.scheme not in ("http", "https") or not to.host:
            raise httpx.UnsupportedProtocol("neither http nor https")
        self._to = to
        self._target = httpcore.URL(scheme=to.raw_scheme, host=to.raw_host, port=to.port, target=to.raw_path)
        self._given = {"host": to.netloc.decode("ascii"), **HEADERS}
        if to.userinfo:
            pair = f"{to.username}:{to.password}".encode()
            self._given["authorization"] = f"Basic {b64encode(pair).decode()}"
        # Once, as it takes 20 ms; where nothing is encrypted, nobody needs to be trusted.
        self._trust = httpx.create_ssl_context() if to.scheme == "https" else None
        self._sockets = Sockets()
        proxy = proxy_for(to)
        try:
            self._proxy = None if proxy is None else httpx.Proxy(proxy)
        except (ValueError, httpx.InvalidURL):
            raise self._no_proxy() from None
        self._idle: list[Line] = []
        self._all: list[Line] = []

    def line(self) -> Line:
        """One that nobody uses; to be given back."""
        if self._idle:
            return self._idle.pop()
        line = Line(self._connection)
        self._all.append(line)
        return line

    def give_back(self, line: Line) -> None:
        self._idle.append(line)

    async def close(self) -> None:
        for line in self._all:
            await line.close()

    def request(self, headers: Mapping[str, str], body: Data, sent: Callable[[], None]) -> httpcore.Request:
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")

        async def trace(event: str, _: Mapping[str, Any]) -> None:
            if event == "http11.send_request_body.complete":
                sent()

        given = {**self._given, **headers, "content-length": str(len(content))}
        return httpcore.Request(
            b"POST",
            self._target,
            headers=[(name.encode(), value.encode()) for name, value in given.items()],
            content=content,
            extensions={"timeout": TIMEOUT, "trace": trace},
        )

    def _connection(self) -> Connection:
        """It is made when first used."""
        proxy = self._proxy
        if proxy is None:
            return httpcore.AsyncHTTPConnection(
                self._target.origin, self._trust, KEPT, network_backend=self._sockets
            )
        by = httpcore.URL(
            scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=proxy.url.raw_path
        )
        if proxy.url.scheme.startswith("socks"):
            try:
                return httpcore.AsyncSOCKSProxy(
                    by, proxy.raw_auth, self._trust, 1, 1, KEPT, network_backend=self._sockets
                )
            except RuntimeError:  # a package that it needs is missing
                raise self._no_proxy() from None
        return httpcore.AsyncHTTPProxy(
            by,
            proxy.raw_auth,
            proxy.headers.raw,
            self._trust,
            max_connections=1,
            max_keepalive_connections=1,
            keepalive_expiry=KEPT,
            network_backend=self._sockets,
        )

    def _no_proxy(self) -> NoProxy:
        return NoProxy(f"{self._to.scheme}_proxy and all_proxy")


class Line:
    """One connection at a time, for one request after the other; `connect` makes a new one where the last is no
    good any more."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._connection: Connection | None = None

    async def send(self, request: httpcore.Request) -> httpcore.Response:
        kept = self._connection
        if kept is not None and not _free(kept):
            await _close(kept)
            kept = None
        kept = kept or self._connect()
        self._connection = None  # until it has an answer: one through a proxy might never be free again
        try:
            response = await kept.handle_async_request(request)
            self._connection = kept
        finally:
            if self._connection is None:
                await _close(kept)
        return response

    async def finish(self, response: httpcore.Response) -> None:
        """Nobody reads the answer any more."""
        kept, self._connection = self._connection, None
        assert kept is not None
        try:
            with anyio.move_on_after(0.5, shield=True):
                await response.aclose()
                self._connection = kept
        finally:
            if self._connection is None:
                await _close(kept)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.aclose()


def _free(connection: Connection) -> bool:
    """Whether it can take a request. One whose answer was left at an unlucky moment never will."""
    if isinstance(connection, httpcore.AsyncConnectionPool):
        return all(one.is_idle() for one in connection.connections)
    return connection.is_available() and not connection.has_expired()


async def _close(connection: Connection) -> None:
    with anyio.CancelScope(shield=True):
        await connection.aclose()


def proxy_for(url: httpx.URL) -> str | None:
    """What the environment says, in all the forms that are about: with and without scheme and port."""
    found = getproxies()
    place = f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    beside = [entry.rpartition("://")[2].strip() for entry in found.get("no", "").split(",")]
    if proxy_bypass(place) or url.host in beside or place in beside:
        return None
    proxy = found.get(url.scheme) or found.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"

"""httpx transports for the URLs of one provider: one per concurrent stream, used again by the next stream.

An httpx pool scans all its connections at each request and at the end of each response; beyond about 100
connections that is most of the work. With one connection per transport there is nothing to scan. An
`httpx.AsyncClient` around it would add cookies, redirects and authentication, none of which is wanted here, and
a sixth of the work per request.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx

TIMEOUT = httpx.Timeout(None, connect=30.0).as_dict()
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=1, keepalive_expiry=5.0)
HEADERS = {
    "accept": "text/event-stream",
    "accept-encoding": "identity",
    "connection": "keep-alive",
    "user-agent": "agentdeck",
    "content-type": "application/json",
}


class BadProxy(Exception):
    """The proxy named in the environment cannot be used. The text names the environment variables."""


class Transports:
    """Transports for one URL. Raises httpx.InvalidURL, httpx.UnsupportedProtocol or BadProxy for an URL that
    cannot be requested."""

    def __init__(self, url: str) -> None:
        given = httpx.URL(url)
        if given.scheme not in ("http", "https") or not given.host:
            raise httpx.UnsupportedProtocol("neither http nor https")
        if not _port_exists(given):
            raise httpx.InvalidURL("no such port")
        # httpx sends userinfo in place of an Authorization header; here the header takes precedence.
        self._url = given.copy_with(userinfo=b"")
        self._auth = httpx.BasicAuth(given.username, given.password) if given.userinfo else None
        # Loading the trusted certificates takes 20 ms: once, and not for http. An empty context trusts nothing.
        https = given.scheme == "https"
        self._verify = httpx.create_ssl_context() if https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        proxy = environment_proxy(given)
        try:
            self._proxy = None if proxy is None else httpx.Proxy(proxy)
        except (ValueError, httpx.InvalidURL):
            raise self._bad_proxy() from None
        if self._proxy is not None and not _port_exists(self._proxy.url):
            raise self._bad_proxy()
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._all: set[httpx.AsyncHTTPTransport] = set()

    def post_request(self, headers: Mapping[str, str], content: bytes, trace: Any) -> httpx.Request:
        """A request with this body. `trace` is httpx's extension of that name."""
        request = httpx.Request(
            "POST",
            self._url,
            headers={**HEADERS, **headers},
            content=content,
            extensions={"timeout": TIMEOUT, "trace": trace},
        )
        if self._auth is None or "authorization" in headers:
            return request
        return next(self._auth.sync_auth_flow(request))

    def acquire(self) -> httpx.AsyncHTTPTransport:
        """A transport that no other stream uses, to be given to `release` or `discard`."""
        if self._idle:
            return self._idle.pop()
        try:
            transport = httpx.AsyncHTTPTransport(
                verify=self._verify,
                proxy=self._proxy,
                trust_env=False,  # the environment's proxies and certificates are read above
                limits=LIMITS,
            )
        except ImportError:  # SOCKS needs a package that is not installed
            raise self._bad_proxy() from None
        self._all.add(transport)
        return transport

    def release(self, transport: httpx.AsyncHTTPTransport) -> None:
        """Keep the transport for the next stream."""
        self._idle.append(transport)

    async def discard(self, transport: httpx.AsyncHTTPTransport) -> None:
        """Close a transport whose request was cancelled or failed: its connection may be in any state."""
        self._all.discard(transport)
        with anyio.CancelScope(shield=True):
            await transport.aclose()

    async def close(self) -> None:
        for transport in self._all:
            await transport.aclose()

    def _bad_proxy(self) -> BadProxy:
        return BadProxy(f"{self._url.scheme}_proxy and all_proxy")


def _port_exists(url: httpx.URL) -> bool:
    """Whether the port is valid; httpx accepts others too."""
    return url.port is None or 0 < url.port < 65536


def environment_proxy(url: httpx.URL) -> str | None:
    """The proxy that the environment names for this URL, with or without a scheme; None for a direct connection.

    httpx reads the environment too, but fails where any of the proxies is unusable, also one for other URLs.
    """
    found = getproxies()
    place = f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    direct = [entry.rpartition("://")[2].strip() for entry in found.get("no", "").split(",")]
    if proxy_bypass(place) or url.host in direct or place in direct:
        return None
    proxy = found.get(url.scheme) or found.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"

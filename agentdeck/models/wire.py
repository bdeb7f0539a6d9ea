"""HTTP to providers: the one place that knows httpx.

Each stream has a transport with one connection of its own. A pool looks through all its connections at each
request and at the end of each, and a client also keeps cookies, redirects and a history, none of which is wanted
here: together that doubles the work of a call (benchmarks/streaming.py). No redirect is followed: the key is for
the host that the deck names.
"""

from __future__ import annotations

import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx

from agentdeck.errors import StepError
from agentdeck.models.fault import refusal
from agentdeck.models.stream import MB, Events
from agentdeck.workflow.model import Data

TIMEOUT = {"connect": 30.0, "read": None, "write": None, "pool": None}
HEADERS = {
    "content-type": "application/json",
    "accept": "text/event-stream",
    "accept-encoding": "identity",
    "user-agent": "agentdeck",
}
#: What `json.loads` comes to, for whoever has text.
DECODER = json.JSONDecoder()
MOST_BODY = 16 * MB
MOST_ERROR = MB // 16
#: Seconds for what may come after the end of an answer.
PATIENCE = 0.2


class Wire:
    """What all streams of one provider share."""

    def __init__(self, who: str, hide: Callable[[str], str] = str) -> None:
        self.who = who
        self._hide = hide
        self._urls: dict[str, httpx.URL] = {}
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._all: list[httpx.AsyncHTTPTransport] = []
        self._trust: ssl.SSLContext | None = None
        self._proxy: str | None = None

    @asynccontextmanager
    async def post(self, url: str, headers: Mapping[str, str], body: Data) -> AsyncIterator[Stream]:
        """Yields an answer of status 200. Raises StepError for everything else, whatever httpx calls it; also for
        what goes wrong while the stream is read inside."""
        transport: httpx.AsyncHTTPTransport | None = None
        try:
            request = self._request(url, headers, body)
            transport = self._idle.pop() if self._idle else self._make(request.url)
            response = await transport.handle_async_request(request)
            try:
                if response.status_code != 200:
                    raise await self._refused(url, response)
                yield Stream(self.who, response)
            finally:
                with anyio.move_on_after(0.5, shield=True):
                    await response.aclose()
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError) as error:
            what = f"{self.who} cannot be asked at {plain(url)} ({type(error).__name__})"
            raise StepError("setup", f"{what}; look at its `url` and `key` in the deck") from None
        except httpx.DecodingError as error:
            raise StepError(
                "server", f"{self.who} sent what cannot be decoded: {self._hide(str(error))}"
            ) from None
        except (httpx.TransportError, httpx.StreamError) as error:
            lost = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            what = f"cannot be reached at {plain(url)}" if lost else "was cut off"
            reason = self._hide(" ".join(str(error).split())[:200]) or type(error).__name__
            raise StepError("network", f"{self.who} {what}: {reason}") from None
        finally:
            if transport is not None:
                self._idle.append(transport)

    async def close(self) -> None:
        transports, self._all, self._idle = self._all, [], []
        for transport in transports:
            await transport.aclose()

    def _request(self, url: str, headers: Mapping[str, str], body: Data) -> httpx.Request:
        to = self._urls.get(url)
        if to is None:
            to = self._urls[url] = httpx.URL(url)
        given = {**HEADERS, **headers}
        if to.userinfo:
            pair = f"{to.username}:{to.password}".encode()
            given.setdefault("authorization", f"Basic {b64encode(pair).decode()}")
        return httpx.Request(
            "POST",
            to,
            headers=[(name.encode(), value.encode()) for name, value in given.items()],
            content=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
            extensions={"timeout": TIMEOUT},
        )

    def _make(self, url: httpx.URL) -> httpx.AsyncHTTPTransport:
        """To where the environment has this url's requests sent."""
        if self._trust is None:  # once, as it takes 20 ms; where nothing is encrypted, nobody needs to be trusted
            secure = url.scheme == "https"
            self._trust = httpx.create_ssl_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._proxy = _proxy_for(url)
        one = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        try:
            transport = httpx.AsyncHTTPTransport(verify=self._trust, limits=one, proxy=self._proxy)
        except (ValueError, ImportError):
            what = f"{self.who} cannot be asked through the proxy that the environment names"
            raise StepError("setup", f"{what}; look at {url.scheme}_proxy and all_proxy") from None
        self._all.append(transport)
        return transport

    async def _refused(self, url: str, response: httpx.Response) -> StepError:
        status = response.status_code
        if 300 <= status < 400:
            target = plain(response.headers.get("location", "")) or "nowhere"
            what = f"{self.who} answered {status}: a redirect from {plain(url)} to {self._hide(target)}"
            return StepError(
                "rejected", f"{what}, which is not followed with a key; write the right `url` in the deck"
            )
        body = bytearray()
        with anyio.move_on_after(10):
            try:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MOST_ERROR:
                        break
            except httpx.HTTPError:
                pass
        text = self._hide(bytes(body[:MOST_ERROR]).decode("utf-8", "replace"))
        return refusal(self.who, status, response.headers, text)


class Stream:
    """An answer of status 200 that is being read."""

    def __init__(self, who: str, response: httpx.Response) -> None:
        self.headers: Mapping[str, str] = response.headers
        self._who = who
        self._response = response
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self.whole = kind == "application/json"
        if not self.whole and kind not in ("text/event-stream", ""):
            what = f"{who} answered with {kind[:60]!r}, which is no stream of answers"
            raise StepError("rejected", f"{what}; look at its `url` in the deck")

    async def read(self, take: Callable[[Mapping[str, Data]], bool], came: Callable[[], None]) -> None:
        """Gives the JSON of each event to `take`, until it says True, or `[DONE]` or the end has come. `came` is
        called after all events that came together."""
        events, chunks = Events(self._who), self._bytes()
        async for chunk in chunks:
            if self._take(events.feed(chunk), take, came):
                # The rest is the end of the body: read it, and the connection can be used again.
                with anyio.move_on_after(PATIENCE):
                    async for _ in chunks:
                        pass
                return
        self._take(events.end(), take, came)

    def _take(
        self, texts: Sequence[str], take: Callable[[Mapping[str, Data]], bool], came: Callable[[], None]
    ) -> bool:
        """True: the last was among them."""
        try:
            return any(text == "[DONE]" or take(self._json(text)) for text in texts)
        finally:
            came()

    async def body(self) -> Mapping[str, Data]:
        """The whole answer of a server that does not stream, or not this time."""
        body = bytearray()
        async for chunk in self._bytes():
            body += chunk
            if len(body) > MOST_BODY:
                raise StepError("server", f"{self._who} sent more than {MOST_BODY // MB} MB, which is no answer")
        return self._json(bytes(body))

    def _bytes(self) -> AsyncIterator[bytes]:
        """As they come. The response's own way to give them does more at each piece than all else."""
        plain = self.headers.get("content-encoding", "identity") == "identity"
        stream = self._response.stream
        if plain and isinstance(stream, httpx.AsyncByteStream):
            return aiter(stream)
        return self._response.aiter_bytes()

    def _json(self, text: str | bytes) -> Mapping[str, Data]:
        try:
            data = json.loads(text) if isinstance(text, bytes) else DECODER.decode(text)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
            raise StepError("server", f"{self._who} sent what is no JSON object", detail=shown[:2000])
        return data


def _proxy_for(url: httpx.URL) -> str | None:
    """What the environment says, in all the forms that are about: with and without scheme and port."""
    found = getproxies()
    place = f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    beside = [entry.rpartition("://")[2].strip() for entry in found.get("no", "").split(",")]
    if proxy_bypass(place) or url.host in beside or place in beside:
        return None
    proxy = found.get(url.scheme) or found.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def plain(url: str) -> str:
    """The url for messages: without userinfo, query and fragment, which may hold secrets."""
    try:
        return str(httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None))
    except (httpx.InvalidURL, ValueError):
        return "an url that cannot be read"

"""HTTP to providers: what is asked, and what comes as a stream.

Each stream has a line of its own: one connection, which the next stream takes over. A client of httpx keeps a
pool, which looks through all its connections at each request and at the end of each, cookies, redirects and a
history, none of which is wanted here: so these are connections of httpcore, on which httpx stands, at half the
work (benchmarks/streaming.py). No redirect is followed: the key is for the host that the deck names.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
import httpcore
import httpx

from agentdeck.errors import StepError
from agentdeck.models.fault import refusal
from agentdeck.models.line import NoProxy, Way
from agentdeck.models.stream import MB, Events
from agentdeck.workflow.model import Data

#: What `json.loads` comes to, for whoever has text.
DECODER = json.JSONDecoder()
MOST_BODY = 16 * MB
MOST_ERROR = MB // 16
#: Seconds for what may come after the end of an answer.
PATIENCE = 0.2
UNASKED = (httpcore.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError)
BROKEN = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.ProxyError,
    httpcore.ConnectionNotAvailable,
)


class Wire:
    """What all streams of one provider share."""

    def __init__(self, who: str, hide: Callable[[str], str] = str) -> None:
        self.who = who
        self._hide = hide
        self._ways: dict[str, Way] = {}

    @asynccontextmanager
    async def post(
        self, url: str, headers: Mapping[str, str], body: Data, sent: Callable[[], None]
    ) -> AsyncIterator[Stream]:
        """Yield an answer of status 200; `sent` is called once the whole request has been written.

        Raises StepError for everything else, whatever httpcore calls it, and for what goes wrong while the stream
        is read inside.
        """
        try:
            way = self._ways.get(url)
            if way is None:
                way = self._ways[url] = Way(url)
            request, line = way.request(headers, body, sent), way.line()
            try:
                response = await line.send(request)
                try:
                    if response.status != 200:
                        raise await self._refused(url, response)
                    yield Stream(self.who, response)
                finally:
                    await line.finish(response)
            finally:
                way.give_back(line)
        except UNASKED as error:
            what = f"{self.who} cannot be asked at {plain(url)} ({type(error).__name__})"
            raise StepError("setup", f"{what}; look at its `url` and `key` in the deck") from None
        except NoProxy as error:
            what = f"{self.who} cannot be asked through the proxy that the environment names"
            raise StepError("setup", f"{what}; look at {error}") from None
        except httpx.DecodingError as error:
            raise StepError(
                "server", f"{self.who} sent what cannot be decoded: {self._hide(str(error))}"
            ) from None
        except BROKEN as error:
            lost = isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout)
            what = f"cannot be reached at {plain(url)}" if lost else "was cut off"
            reason = self._hide(" ".join(str(error).split())[:200]) or type(error).__name__
            raise StepError("network", f"{self.who} {what}: {reason}") from None

    async def close(self) -> None:
        for way in self._ways.values():
            await way.close()

    async def _refused(self, url: str, response: httpcore.Response) -> StepError:
        status, headers = response.status, headers_of(response)
        if 300 <= status < 400:
            target = plain(headers.get("location", "")) or "nowhere"
            what = f"{self.who} answered {status}: a redirect from {plain(url)} to {self._hide(target)}"
            return StepError(
                "rejected", f"{what}, which is not followed with a key; write the right `url` in the deck"
            )
        body = bytearray()
        with anyio.move_on_after(10):
            try:
                async for chunk in bytes_of(response, headers):
                    body += chunk
                    if len(body) > MOST_ERROR:
                        break
            except (*BROKEN, httpx.DecodingError):
                pass
        text = self._hide(bytes(body[:MOST_ERROR]).decode("utf-8", "replace"))
        return refusal(self.who, status, headers, text)


class Stream:
    """An answer of status 200 that is being read."""

    def __init__(self, who: str, response: httpcore.Response) -> None:
        self.headers = headers_of(response)
        self._who = who
        self._response = response
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        self.whole = kind == "application/json"
        if not self.whole and kind not in ("text/event-stream", ""):
            what = f"{who} answered with {kind[:60]!r}, which is no stream of answers"
            raise StepError("rejected", f"{what}; look at its `url` in the deck")

    async def read(self, take: Callable[[Mapping[str, Data]], bool], came: Callable[[], None]) -> None:
        """Gives the JSON of each event to `take`, until it says True, or `[DONE]` or the end has come. `came` is
        called after all events that came together."""
        events, chunks = Events(self._who), bytes_of(self._response, self.headers)
        async for chunk in chunks:
            if self._take(events.feed(chunk), take, came):
                # The rest is the end of the body: read it, and the connection can be used again.
                with suppress(*BROKEN), anyio.move_on_after(PATIENCE):
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
            if texts:  # comments keep a connection alive, and say nothing of an answer
                came()

    async def body(self) -> Mapping[str, Data]:
        """The whole answer of a server that does not stream, or not this time."""
        body = bytearray()
        async for chunk in bytes_of(self._response, self.headers):
            body += chunk
            if len(body) > MOST_BODY:
                raise StepError("server", f"{self._who} sent more than {MOST_BODY // MB} MB, which is no answer")
        return self._json(bytes(body))

    def _json(self, text: str | bytes) -> Mapping[str, Data]:
        try:
            data = json.loads(text) if isinstance(text, bytes) else DECODER.decode(text)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
            raise StepError("server", f"{self._who} sent what is no JSON object", detail=shown[:2000])
        return data


class _Parts(httpx.AsyncByteStream):
    """A body as httpx wants it."""

    def __init__(self, parts: AsyncIterable[bytes]) -> None:
        self._parts = parts

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._parts)


def headers_of(response: httpcore.Response) -> dict[str, str]:
    """By their names in small letters."""
    found: dict[str, str] = {}
    for raw, value in response.headers:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def bytes_of(response: httpcore.Response, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    """The body as it comes, unpacked: some pack it although nobody asked for it."""
    assert isinstance(response.stream, AsyncIterable)
    if headers.get("content-encoding", "identity") == "identity":
        return aiter(response.stream)
    return httpx.Response(200, headers=headers, stream=_Parts(response.stream)).aiter_bytes()


def plain(url: str) -> str:
    """The url for messages: without userinfo, query and fragment, which may hold secrets."""
    try:
        return str(httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None))
    except (httpx.InvalidURL, ValueError):
        return "an url that cannot be read"

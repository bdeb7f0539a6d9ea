"""HTTP to providers: sends a request and reads the answer as a stream of JSON events.

Redirects are not followed: the key is for the host that the deck names.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import httpx

from agentdeck.errors import StepError
from agentdeck.providers.decompression import decoded
from agentdeck.providers.http_transports import BadProxy, Transports
from agentdeck.providers.provider_errors import refusal
from agentdeck.providers.request_turns import RequestTurns
from agentdeck.providers.sse import MB, EventStreamParser
from agentdeck.workflow.model import Data

#: `json.loads` for text, without its detection of the encoding.
DECODER = json.JSONDecoder()
MOST_BODY = 16 * MB
MOST_ERROR = MB // 16
#: Seconds to wait for the end of the body after the last event.
PATIENCE = 0.2
#: Seconds for closing a response.
CLOSING = 0.5
NOT_SENDABLE = (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError)
BROKEN = (httpx.TransportError, httpx.StreamError)


class EventStreamClient:
    """The connections of one provider."""

    def __init__(self, who: str, hide: Callable[[str], str] = str) -> None:
        self.who = who
        self._hide = hide
        self._transports: dict[str, Transports] = {}
        self._turns = RequestTurns()

    @asynccontextmanager
    async def post(
        self, url: str, headers: Mapping[str, str], body: Data, sent: Callable[[], None]
    ) -> AsyncIterator[HttpStream]:
        """Yield an answer of status 200; `sent` is called once the whole request has been written.

        Raises StepError for everything else, whatever httpx calls it, and for what goes wrong while the stream
        is read inside.
        """
        try:
            transports = self._transports.get(url)
            if transports is None:
                transports = self._transports[url] = Transports(url)
            self._turns.extend()
            trace = _Trace(sent, self._turns)
            async with self._answer(transports, headers, body, trace) as response:
                if 300 <= response.status_code < 400:
                    raise self._redirected(response, url)
                if response.status_code != 200:
                    raise await self._refused(response)
                yield HttpStream(self.who, response, self._turns.take)
        except NOT_SENDABLE as error:
            what = f"{self.who} cannot be called at {plain(url)} ({type(error).__name__})"
            raise StepError("setup", f"{what}; check its `url` and `key` in the deck") from None
        except BadProxy as error:
            what = f"{self.who} cannot be called through the proxy of the environment"
            raise StepError("setup", f"{what}; check {error}") from None
        except httpx.DecodingError as error:
            raise StepError(
                "server", f"{self.who} sent an answer that cannot be decoded: {self._hide(str(error))}"
            ) from None
        except BROKEN as error:
            lost = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            what = f"cannot be reached at {plain(url)}" if lost else "was cut off"
            reason = self._hide(" ".join(str(error).split())[:200]) or type(error).__name__
            raise StepError("network", f"{self.who} {what}: {reason}") from None

    async def close(self) -> None:
        for transports in self._transports.values():
            await transports.close()

    @asynccontextmanager
    async def _answer(
        self, transports: Transports, headers: Mapping[str, str], body: Data, trace: _Trace
    ) -> AsyncIterator[httpx.Response]:
        """The response, before its body. The transport is reused unless the request was cancelled or its
        connection failed."""
        transport = transports.acquire()
        reusable = False
        try:
            content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
            request = transports.post_request(headers, content, trace)
            response = await transport.handle_async_request(request)
            trace.report_sent()  # a server may answer before it has read all
            try:
                yield response
                reusable = True
            finally:
                if not response.is_closed:  # it is where the body was read to its end
                    with anyio.move_on_after(CLOSING, shield=True):
                        await response.aclose()
        except StepError:
            reusable = True
            raise
        finally:
            if reusable:
                transports.release(transport)
            else:
                await transports.discard(transport)
                await trace.close()

    def _redirected(self, response: httpx.Response, url: str) -> StepError:
        target = plain(response.headers.get("location", "")) or "nowhere"
        what = f"{self.who} answered {response.status_code}: a redirect from {plain(url)}"
        return StepError(
            "rejected",
            f"{what} to {self._hide(target)}, which is not followed because of the key; "
            "correct its `url` in the deck",
        )

    async def _refused(self, response: httpx.Response) -> StepError:
        body = bytearray()
        with anyio.move_on_after(10), suppress(*BROKEN, httpx.DecodingError):
            async for chunk in decoded(response, whole=False):
                body += chunk
                if len(body) > MOST_ERROR:
                    break
        text = self._hide(bytes(body[:MOST_ERROR]).decode("utf-8", "replace"))
        return refusal(self.who, response.status_code, response.headers, text)


class _Trace:
    """Follows one request through httpx's `trace` extension: reports once that it has been written, and closes
    its connection where httpx does not."""

    def __init__(self, sent: Callable[[], None], turns: RequestTurns) -> None:
        self._sent = sent
        self._turns = turns
        self._reported = False
        self._tunnel = False
        self._socket: Any = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "http11.send_request_headers.started":
            # A request for a tunnel through a proxy comes before the request itself.
            self._tunnel = info["request"].method == b"CONNECT"
        elif event == "http11.send_request_body.complete" and not self._tunnel:
            self.report_sent()
        elif event == "connection.connect_tcp.complete":
            self._socket = info["return_value"]

    def report_sent(self) -> None:
        if not self._reported:
            self._reported = True
            self._sent()
            self._turns.release()

    async def close(self) -> None:
        """A connection that is cancelled during its TLS handshake does not belong to a pool yet."""
        if self._socket is not None:
            with anyio.CancelScope(shield=True):
                await self._socket.aclose()


class HttpStream:
    """An answer of status 200 that is being read. `ended` is awaited once its last event was handled."""

    def __init__(self, who: str, response: httpx.Response, ended: Callable[[], Awaitable[None]]) -> None:
        self.headers: Mapping[str, str] = response.headers
        self._who = who
        self._ended = ended
        self._response = response
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        self.whole = kind == "application/json"
        if not self.whole and kind not in ("text/event-stream", ""):
            what = f"{who} answered with {kind[:60]!r}, which is not a stream of answers"
            raise StepError("rejected", f"{what}; check its `url` in the deck")

    async def read(self, take: Callable[[Mapping[str, Data]], bool], came: Callable[[], None]) -> None:
        """Call `take` with the JSON of each event, until it returns True, or until `[DONE]` or the end. `came`
        is called after all events that arrived together."""
        events, chunks = EventStreamParser(self._who), self._chunks()
        async for chunk in chunks:
            if self._take(events.feed(chunk), take, came):
                await self._ended()
                # The rest is the end of the body: read it, and the connection can be used again.
                with suppress(*BROKEN), anyio.move_on_after(PATIENCE):
                    async for _ in chunks:
                        pass
                return
        self._take(events.end(), take, came)
        await self._ended()

    def _take(
        self, texts: Sequence[str], take: Callable[[Mapping[str, Data]], bool], came: Callable[[], None]
    ) -> bool:
        """Returns whether the last event was among them."""
        if not texts:  # comments keep a connection alive, and say nothing of an answer
            return False
        try:
            return any(text == "[DONE]" or take(self._json(text)) for text in texts)
        finally:
            came()

    def _chunks(self) -> AsyncIterator[bytes]:
        """The body, decoded: some gateways compress it although nothing in the request allows it."""
        return decoded(self._response, whole=False)

    async def body(self) -> Mapping[str, Data]:
        """The whole answer of a server that does not stream."""
        body = bytearray()
        async for chunk in self._chunks():
            body += chunk
            if len(body) > MOST_BODY:
                raise StepError(
                    "server", f"{self._who} sent more than {MOST_BODY // MB} MB, which is too large for an answer"
                )
        await self._ended()
        return self._json(bytes(body))

    def _json(self, text: str | bytes) -> Mapping[str, Data]:
        try:
            data = json.loads(text) if isinstance(text, bytes) else DECODER.decode(text)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
            raise StepError(
                "server", f"{self._who} sent something that is not a JSON object", detail=shown[:2000]
            )
        return data


def plain(url: str) -> str:
    """The URL for messages: without userinfo, query and fragment, which may contain secrets."""
    try:
        return str(httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None))
    except (httpx.InvalidURL, ValueError):
        return "a url that cannot be read"

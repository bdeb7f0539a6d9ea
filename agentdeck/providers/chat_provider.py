"""What the providers with a streaming HTTP API share: a request, its answer, its failure, its images."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import anyio

from agentdeck.errors import StepError
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.provider import OnSent, OnText, PromptReply, PromptRequest
from agentdeck.providers.rate_headers import parse_rate_headers
from agentdeck.providers.stream_answer import StreamedAnswer
from agentdeck.workflow.deck import Provider
from agentdeck.workflow.model import Data

if TYPE_CHECKING:
    from agentdeck.providers.http_stream import EventStreamClient

MOST_IMAGE = 20 * 1024 * 1024
#: The first bytes of image files of each type, and where they stand.
IMAGE_TYPES = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF8", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
)


#: JSON objects of the protocol: an event or a body, and the counts of tokens.
Event: TypeAlias = Mapping[str, Data]
Counts: TypeAlias = dict[str, Data]


class ChatProvider(ABC):
    """A provider's protocol is in its subclass: the headers (without a key where it is empty) and the body of a
    request, what an event (`_take`, True for the last one) and a whole answer of a server that does not stream
    mean for the answer, and its reply, without what the response's headers say."""

    #: The tool whose arguments are the typed answer; empty where the protocol has typed answers itself.
    answer_tool = ""

    def __init__(self, name: str, provider: Provider, url: str, keys: KeyStore, wire: EventStreamClient) -> None:
        self._who = name
        self._key = provider.key
        self._url = url
        self._keys = keys
        self._wire = wire

    async def answer(self, request: PromptRequest, on_text: OnText, on_sent: OnSent) -> PromptReply:
        key = await self._keys.read(self._key, f"provider {self._who}")
        got, usage = StreamedAnswer(self._who, on_text, self.answer_tool), Counts()
        body, begun = await self._body(request), False
        try:
            async with self._wire.post(self._url, self._headers(key), body, on_sent) as stream:
                begun = True
                on_text("")  # the answer has begun
                if stream.whole:
                    self._take_whole(await stream.body(), got, usage)
                    got.flush()
                else:
                    await stream.read(lambda event: self._take(event, got, usage), got.flush)
                if not got.complete:
                    raise StepError("network", f"{self._who}: the stream ended in the middle of the answer")
                reply = self._reply(got, usage, typed=request.schema is not None)
                return replace(reply, headers=parse_rate_headers(stream.headers), thought=got.thought)
        except StepError as error:
            raised = self._failure(error, request, body, got.shown or got.text)
            raised.begun, raised.overloaded = begun, error.overloaded
            raise raised from None

    async def close(self) -> None:
        await self._wire.close()

    def _failure(self, error: StepError, request: PromptRequest, body: Event, text: str) -> StepError:
        """The error with the text that had arrived, and without keys."""
        kind, message, after, clock, detail = error.fault[:5]
        if kind == "auth":
            self._keys.refused(self._key)
        hide = self._keys.hide
        return StepError(kind, hide(message), retry_after=after, clock=clock, detail=hide(text or detail))

    @abstractmethod
    def _headers(self, key: str) -> dict[str, str]: ...

    @abstractmethod
    async def _body(self, request: PromptRequest) -> dict[str, Data]: ...

    @abstractmethod
    def _take(self, event: Event, got: StreamedAnswer, usage: Counts) -> bool: ...

    @abstractmethod
    def _take_whole(self, body: Event, got: StreamedAnswer, usage: Counts) -> None: ...

    @abstractmethod
    def _reply(self, got: StreamedAnswer, usage: Counts, *, typed: bool) -> PromptReply: ...


async def read_image(file: str) -> tuple[str, str]:
    """The media type and the bytes in base64. Raises StepError of kind `setup`."""
    return await anyio.to_thread.run_sync(_read_image, file)


def _read_image(file: str) -> tuple[str, str]:
    try:
        with Path(file).open("rb") as stream:
            data = stream.read(MOST_IMAGE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StepError("setup", f"the image {file} cannot be read: {reason}") from None
    if len(data) > MOST_IMAGE:
        raise StepError("setup", f"the image {file} is larger than {MOST_IMAGE // 1024 // 1024} MB")
    for start, at, kind in IMAGE_TYPES:
        if data.startswith(start, at):
            return kind, base64.b64encode(data).decode()
    raise StepError("setup", f"{file} is not a PNG, JPEG, GIF or WebP file")

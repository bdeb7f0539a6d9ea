"""An API of models, for the gateway: how to read its requests, and write its answers, streams and errors."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from agentdeck.gateway.model_request import CallFailure, ModelAnswer, ModelRequest
from agentdeck.providers.provider import PromptReply
from agentdeck.workflow.model import Data


class AnswerStream(ABC):
    """Writes one streamed answer: `begin`, then `text` for each piece, then `end` or `fail`. Each returns the
    bytes to send."""

    #: Keeps the connection alive while the call waits.
    keep_alive = b": keep-alive\n\n"

    def __init__(self, id: str, created: int, request: ModelRequest) -> None:  # noqa: A002
        self._id = id
        self._created = created
        self._request = request

    @abstractmethod
    def begin(self) -> bytes: ...

    @abstractmethod
    def text(self, piece: str) -> bytes: ...

    @abstractmethod
    def end(self, reply: PromptReply) -> bytes: ...

    @abstractmethod
    def fail(self, failure: CallFailure) -> bytes: ...


class Dialect(ABC):
    """One API."""

    name: str
    stream: type[AnswerStream]

    @abstractmethod
    def request(self, body: Mapping[str, Any]) -> ModelRequest:
        """The request that this body holds. Raises BadRequest."""

    @abstractmethod
    def answer(self, answer: ModelAnswer) -> Data:
        """A whole answer."""

    @abstractmethod
    def error(self, failure: CallFailure) -> Data:
        """An error."""

    @abstractmethod
    def models(self, names: Sequence[str]) -> Data:
        """The list of models."""


def event(data: Data, name: str = "") -> bytes:
    """One event of a stream."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return (f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n").encode("utf-8", "replace")

"""Calls that clients wait for: what links the request of a client and the step that answers it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from agentdeck.gateway.model_request import CallFailure, ModelRequest
from agentdeck.providers.provider import PromptReply


class ClientGone(Exception):
    """The client has closed its connection."""


class AttemptOver(Exception):
    """The attempt that makes a call has ended."""


class OpenCall:
    """One call. The step that answers it calls `add_text`, and sets `reply`; the end of its task calls `end`.
    `said` is whether text has been passed on, after which another attempt would repeat it."""

    def __init__(self, request: ModelRequest) -> None:
        self.request = request
        self.reply: PromptReply | None = None
        self.failure: CallFailure | None = None
        self.said = False
        self.ended = False
        self._gone = False
        self._pieces: list[str] = []
        self._news = asyncio.Event()

    def add_text(self, piece: str) -> None:
        if piece and self.request.stream:
            self.said = True
            self._pieces.append(piece)
            self._news.set()

    def end(self, failure: CallFailure | None) -> None:
        self.failure = failure
        self.ended = True
        self._news.set()

    def abandon(self) -> None:
        """The client has gone."""
        self._gone = True
        self._news.set()

    async def pieces(self, every: float) -> AsyncIterator[str]:
        """The text as it comes, until the call has ended; empty where none came for `every` seconds. Raises
        ClientGone."""
        while True:
            timer = asyncio.get_running_loop().call_later(every, self._news.set)
            await self._news.wait()
            timer.cancel()
            self._news.clear()
            if self._gone:
                raise ClientGone
            text = "".join(self._pieces)
            self._pieces.clear()
            if text or not self.ended:
                yield text
            if self.ended:
                return


class OpenCalls:
    """All calls of a run that are open, by the id of their task."""

    def __init__(self) -> None:
        self._calls: dict[str, OpenCall] = {}

    def add(self, task: str, call: OpenCall) -> None:
        self._calls[task] = call

    def find(self, task: str) -> OpenCall | None:
        return self._calls.get(task)

    def pop(self, task: str) -> OpenCall | None:
        return self._calls.pop(task, None)

    def __len__(self) -> int:
        return len(self._calls)

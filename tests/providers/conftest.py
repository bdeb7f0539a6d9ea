from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from agentdeck.errors import Fault, StepError
from agentdeck.providers.provider import Message, PromptReply, PromptRequest
from agentdeck.providers.registry import ProviderRegistry
from agentdeck.workflow.deck import Deck, Provider
from tests.providers.server import Server, serving

SECRET = "sk-live-0123456789abcdef"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as made:
        yield made


class Asker:
    """Asks one provider of a room."""

    def __init__(self, room: ProviderRegistry) -> None:
        self.room = room
        self.said: list[str] = []
        self.sent = 0

    def _count_sent(self) -> None:
        self.sent += 1

    async def __call__(self, model: str, **more: Any) -> PromptReply:
        question = PromptRequest(model, [Message("user", "What does it say?")], **more)
        with anyio.fail_after(60):
            return await self.room.provider("it").answer(question, self.said.append, self._count_sent)

    async def fault(self, model: str, **more: Any) -> Fault:
        with pytest.raises(StepError) as caught:
            await self(model, **more)
        return caught.value.fault


@pytest.fixture(params=["openai", "anthropic"])
async def ask(request: pytest.FixtureRequest, asker: Callable[..., Asker]) -> Asker:
    return asker(request.param)


@pytest.fixture
async def asker(server: Server) -> AsyncIterator[Callable[..., Asker]]:
    rooms = []

    def make(kind: str, url: str = "", key: Any = "${env.THE_KEY}") -> Asker:
        url = url or server.url + ("/v1" if kind == "openai" else "")
        deck = Deck(providers={"it": Provider(kind, key, url)})
        rooms.append(ProviderRegistry(deck, anyio.sleep, {"THE_KEY": SECRET}))
        return Asker(rooms[-1])

    yield make
    for room in rooms:
        await room.close()

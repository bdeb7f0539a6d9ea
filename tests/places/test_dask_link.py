"""What a Dask worker is asked for the lines of its host: few requests, as each costs as much as a short call."""

from __future__ import annotations

import asyncio

import anyio

from agentdeck.places.dask_cluster import DaskLink
from tests.virtual_clock import virtual


class Actor:
    """Stands for what a Dask client gives for a host: it writes down the requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    async def send(self, data: bytes) -> None:
        self.requests.append(("send", data))

    async def exchange(self, data: bytes) -> bytes:
        self.requests.append(("exchange", data))
        return await self.answers.get()


def test_what_is_said_to_an_answer_goes_with_the_next_request() -> None:
    async def main() -> None:
        actor = Actor()
        link = DaskLink(None, actor)

        receiving = asyncio.create_task(link.receive())
        await asyncio.sleep(1)
        await link.send(b"call 1\n")
        assert actor.requests == [("exchange", b""), ("send", b"call 1\n")], "a request is under way"
        actor.answers.put_nowait(b"result 1\n")
        assert await receiving == b"result 1\n"

        receiving = asyncio.create_task(link.receive())
        await asyncio.sleep(0.001)
        await link.send(b"call 2\n")
        await link.send(b"call 3\n")
        await asyncio.sleep(1)
        assert actor.requests[2:] == [("exchange", b"call 2\ncall 3\n")]
        actor.answers.put_nowait(b"result 2\n")
        await receiving

        receiving = asyncio.create_task(link.receive())
        await asyncio.sleep(1)
        assert actor.requests[3:] == [("exchange", b"")], "it does not wait for long"
        await link.send(b"call 4\n")
        assert actor.requests[4:] == [("send", b"call 4\n")]
        receiving.cancel()

    anyio.run(main, backend_options=virtual())

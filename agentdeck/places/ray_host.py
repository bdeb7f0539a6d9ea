"""A host on a node of a Ray cluster: an actor, in a process of its own that Ray starts there.

A call of an actor costs as much as all else of a short step. So the answer to lines of the engine brings the
next lines for it, and a short step costs one call."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import ray

from agentdeck.places.host import WAIT, Host
from agentdeck.places.numbered import Numbered

#: Seconds between two looks at the raylet.
LOOK = 0.2


class RayHost(Host):
    """Of calls of `deliver`, one waits for lines at most."""

    def __init__(self, name: str, worker: str) -> None:
        super().__init__(name, worker)
        self._requests, self._answers = Numbered(), Numbered()
        self._waiting: asyncio.Future[bytes] | None = None

    async def begin(self) -> str:
        """Start it; returns the id of its node."""
        await self.start()
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        node: str = ray.get_runtime_context().get_node_id()
        return node

    async def deliver(self, request: bytes) -> bytes:
        """Take lines of the engine. Returns lines for it, as soon as there are any; none after a second, or when
        another comes."""
        for data in self._requests.put(request):
            await self.send(data)
        self._reply(b"")
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bytes] = loop.create_future()
        self._waiting = waiting
        timer = loop.call_later(WAIT, self._give_up, waiting)
        try:
            return await waiting
        finally:
            timer.cancel()

    def _give_up(self, waiting: asyncio.Future[bytes]) -> None:
        if self._waiting is waiting:
            self._reply(b"")

    async def poll(self) -> bytes:
        """Lines for the engine, none after a second. While a `deliver` waits too, it gets them."""
        end = time.monotonic() + WAIT
        while (data := await self.receive()) and time.monotonic() < end and self._reply(data):
            pass
        return self._answers.made(data)

    def _reply(self, data: bytes) -> bool:
        """Answer the `deliver` that waits; returns whether one does."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return False
        waiting.set_result(self._answers.made(data))
        return True


def _end_with(raylet: int) -> None:
    """A node whose raylet has ended is dead for Ray, though its actors do not notice: they would go on with what
    is made again elsewhere."""
    while os.getppid() == raylet:
        time.sleep(LOOK)
    os._exit(1)

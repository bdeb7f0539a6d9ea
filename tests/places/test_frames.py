"""The pipe between the engine and a connector."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from agentdeck.places.frames import FramePipe, Kind


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_frames_pass_on_both_kinds_of_event_loop(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def both_ways() -> list[tuple[Kind, int, bytes]]:
        taken: list[tuple[Kind, int, bytes]] = []
        closed = asyncio.Event()
        one, other = socket.socketpair()
        here = FramePipe(lambda *frame: None, lambda: None)
        there = FramePipe(lambda *frame: taken.append(frame), closed.set)
        await here.open(one)
        await there.open(other)
        here.send(Kind.DATA, 7, b"first ", b"line")
        here.send(Kind.DATA, 8, large)
        await here.drain()
        here.close()
        await closed.wait()
        return taken

    large = bytes(3_000_000)
    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(both_ways()) == [(Kind.DATA, 7, b"first line"), (Kind.DATA, 8, large)]

"""The lease of a host: its engine is gone when it asks for nothing."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from agentdeck.places.cluster import HostGone
from agentdeck.places.host import LEASE, Host
from tests.virtual_clock import virtual


def test_a_host_that_was_not_asked_says_that_it_has_ended() -> None:
    async def main() -> None:
        host = Host("run/crew", "first")
        await host.start()
        for _ in range(3 * LEASE):  # it waits for a second each time
            assert await host.receive() == b""
        await asyncio.sleep(LEASE + 2)
        with pytest.raises(HostGone, match="it was not asked for 10 s, and has ended its calls"):
            await host.receive()

    anyio.run(main, backend_options=virtual())


def test_a_newer_host_of_the_same_name_closes_an_older_one() -> None:
    async def main() -> None:
        older, newer = Host("run/crew", "first"), Host("run/crew", "first")
        await older.start()
        asked = asyncio.create_task(older.receive())
        await asyncio.sleep(0)
        await newer.start()
        with pytest.raises(HostGone, match="its host was closed"):
            await asked
        assert await newer.receive() == b""
        await newer.close()

    anyio.run(main, backend_options=virtual())

"""What the contracts share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import anyio
import pytest

#: Seconds in which what was cancelled has to end.
PATIENCE = 1.0
#: Seconds after which a test gives up.
LIMIT = 30.0


class Contract:
    """The base of all contracts: their coroutines run on asyncio's event loop, as agentdeck does."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"


async def assert_ends_when_cancelled(call: Coroutine[Any, Any, Any], begun: anyio.Event) -> None:
    """Cancels a call once, as the engine does, when it has begun; it has to end within PATIENCE seconds."""
    task, beginning = asyncio.create_task(call), asyncio.create_task(begun.wait())
    await asyncio.wait({task, beginning}, timeout=LIMIT, return_when=asyncio.FIRST_COMPLETED)
    beginning.cancel()
    task.cancel()
    ended, _ = await asyncio.wait({task}, timeout=PATIENCE)
    if not ended:
        task.cancel()
        await asyncio.wait({task}, timeout=PATIENCE)
    assert ended, f"it still runs {PATIENCE:g} s after it was cancelled"

"""What the steps of `benchmarks.cluster` do. Workers of a cluster import this module, so it imports little."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any


async def wait(seconds: float, *needs: Any) -> int:
    """A step that waits, as one that calls a model does."""
    await asyncio.sleep(seconds)
    return 1


def burn(seconds: float) -> int:
    """A step that computes: it uses so many seconds of processor time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return 1


async def echo(value: Any) -> Any:
    return value


async def talk(lines: int, ctx: Any) -> int:
    """Log the time, again and again."""
    for _ in range(lines):
        ctx.log(repr(time.time()))
        await asyncio.sleep(0.02)
    return lines


async def leave_mark(marks: str, n: int, seconds: float, ctx: Any) -> int:
    """Write down which attempt has begun, in one write, so that no two are mixed."""
    file = os.open(marks, os.O_WRONLY | os.O_APPEND)
    os.write(file, f"{ctx.id} {os.getpid()}\n".encode())
    os.close(file)
    await asyncio.sleep(seconds)
    return n * n

"""64 streams at once from a local server: through the provider, and through a bare httpx loop.

`python -m benchmarks.streaming` prints one line. Both read the same events and parse their JSON; the bare loop
does nothing else. The server is a process of its own. Rounds alternate, and the best of each counts. The second
line is for 256 streams at once: how long the slowest hundredth of them takes.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import httpx

from agentdeck.providers.http_stream import EventStreamClient
from agentdeck.providers.keys import KeyStore
from agentdeck.providers.openai import OpenAIProvider
from agentdeck.providers.provider import Message, PromptRequest
from agentdeck.workflow.deck import Provider

AT_ONCE = 64
MANY = 256
WORDS = 200
ROUNDS = 7
MODEL = f"bench-{WORDS}"


async def bare(client: httpx.AsyncClient, url: str, model: str = MODEL) -> int:
    """What anybody would write."""
    said = 0
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "go"}]}
    async with client.stream("POST", f"{url}/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                choices = json.loads(line[6:])["choices"]
                said += bool(choices and choices[0]["delta"].get("content"))
    return said


async def ours(provider: OpenAIProvider) -> int:
    said: list[str] = []
    await provider.answer(PromptRequest(MODEL, [Message("user", "go")]), said.append, lambda: None)
    return len("".join(said).split())


class Took(NamedTuple):
    """Seconds on the wall, and of this process's own work."""

    wall: float
    cpu: float


async def timed(ask: Callable[[], Awaitable[int]]) -> Took:
    since, worked = time.perf_counter(), time.process_time()
    counts = await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    assert set(counts) == {WORDS}, counts
    return Took(time.perf_counter() - since, time.process_time() - worked)


async def p99(ask: Callable[[], Awaitable[int]]) -> float:
    """Seconds within which 99 % of MANY streams at once have ended."""

    async def one() -> float:
        since = time.perf_counter()
        assert await ask() == WORDS
        return time.perf_counter() - since

    took = sorted(await asyncio.gather(*(one() for _ in range(MANY))))
    return took[MANY * 99 // 100 - 1]


class Found(NamedTuple):
    """The best of a bare loop with one client, of one with four clients, and of ours; then the p99 of the last
    two with MANY streams."""

    one: Took
    four: Took
    own: Took
    bare_p99: float
    own_p99: float


async def measure(url: str) -> Found:
    one = [httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None))]
    many = [httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None)) for _ in range(4)]
    provider = OpenAIProvider("it", Provider("openai", url=url), KeyStore({}), EventStreamClient("it"))
    turn = iter(range(10**9))
    asks: list[Callable[[], Awaitable[int]]] = [
        lambda: bare(one[0], url),
        lambda: bare(many[next(turn) % len(many)], url),
        lambda: ours(provider),
    ]
    for ask in asks:
        await timed(ask)
    best = [Took(float("inf"), float("inf"))] * len(asks)
    for _ in range(ROUNDS):
        for at, ask in enumerate(asks):
            best[at] = Took(*map(min, best[at], await timed(ask)))
    slowest = [float("inf")] * 2
    for _ in range(ROUNDS):
        for at, ask in enumerate(asks[1:]):
            slowest[at] = min(slowest[at], await p99(ask))
    await provider.close()
    for client in one + many:
        await client.aclose()
    return Found(best[0], best[1], best[2], slowest[0], slowest[1])


def served() -> Found:
    """The same, against a server that is a process of its own."""
    call = [sys.executable, "-m", "tests.providers.server"]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        found = asyncio.run(measure(server.stdout.readline().strip() + "/v1"))
        server.stdin.close()
    return found


def main() -> None:
    one, four, own, bare_p99, own_p99 = served()
    words = AT_ONCE * WORDS
    print(
        f"{AT_ONCE} streams of {WORDS} words: {own.wall:.3f} s ({words / own.wall:,.0f} words/s), "
        f"bare httpx {one.wall:.3f} s, in four clients {four.wall:.3f} s: "
        f"{own.wall / min(one.wall, four.wall) - 1:+.1%} on the wall, "
        f"{own.cpu / min(one.cpu, four.cpu) - 1:+.1%} of work"
    )
    print(
        f"{MANY} streams of {WORDS} words: p99 {own_p99:.3f} s, "
        f"bare httpx in four clients {bare_p99:.3f} s: {own_p99 / bare_p99 - 1:+.1%}"
    )


if __name__ == "__main__":
    main()

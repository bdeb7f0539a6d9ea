"""The programs that `benchmarks.gateway` runs: each calls a server, and the gateway in front of it.

It also runs in environments without agentdeck.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time

import httpx

CALLS, AT_ONCE, ROUNDS, PROMPTS = 200, 64, 3, 1000


async def stream(client: httpx.AsyncClient, url: str, shape: str) -> float:
    """How long a streamed answer takes."""
    since = time.perf_counter()
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": f"Answer {shape}"}]}
    headers = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    async with client.stream("POST", f"{url}/chat/completions", json=body, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for _ in answer.aiter_bytes():
            pass
    return time.perf_counter() - since


async def added(server: str, gateway: str) -> object:
    """The median of calls in turns, in milliseconds."""
    taken: dict[str, list[float]] = {server: [], gateway: []}
    async with httpx.AsyncClient(trust_env=False, timeout=None) as client:
        for number in range(2 * CALLS):
            url = (server, gateway)[number % 2]
            taken[url].append(await stream(client, url, "2x0.02"))
    return [1000 * statistics.median(taken[url][10:]) for url in (server, gateway)]


async def streams(server: str, gateway: str) -> object:
    """The best time for all of AT_ONCE streams, in seconds."""
    best = {server: 1e9, gateway: 1e9}
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    async with httpx.AsyncClient(trust_env=False, timeout=None, limits=limits) as client:
        for number in range(2 * ROUNDS):
            url, since = (server, gateway)[number % 2], time.perf_counter()
            await asyncio.gather(*(stream(client, url, "100x2.0") for _ in range(AT_ONCE)))
            best[url] = min(best[url], time.perf_counter() - since)
    return [best[server], best[gateway]]


async def rate(server: str, gateway: str) -> object:
    """All prompts at once, through ChatOpenAI where it is installed."""
    try:
        from langchain_openai import ChatOpenAI
    except ImportError:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(trust_env=False, timeout=None, limits=limits) as client:
            await asyncio.gather(*(stream(client, gateway, "1x0.01") for _ in range(PROMPTS)))
        return "httpx"
    model = ChatOpenAI(model="m", timeout=600)
    await asyncio.gather(*(model.ainvoke("Answer 1x0.01") for _ in range(PROMPTS)))
    return "ChatOpenAI"


if __name__ == "__main__":
    work = {"added": added, "streams": streams, "rate": rate}[sys.argv[1]]
    print(json.dumps(asyncio.run(work(sys.argv[2], os.environ["OPENAI_BASE_URL"]))))

"""What the gateway adds to a call, against a local server in a process of its own.

`python -m benchmarks.gateway [PYTHON]` prints a table. The clients are programs of a run, each beside the same
calls without a gateway, in turns: the server streams 2 pieces in 20 ms (one call), or 100 pieces in 2 s to 64
clients at once. In the last row 1,000 prompts have a rate of 300 in 6 s, a minute scaled down to a tenth, and the
most in any 6 s is what the server counted; with the PYTHON of an environment that has langchain-openai, they come
through ChatOpenAI.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from agentdeck.engine.launch import Launch, run
from agentdeck.workflow.loader import loads

ROOT = Path(__file__).parents[1]
CALLS, AT_ONCE, ROUNDS, PROMPTS, RATE, WINDOW = 200, 64, 3, 1000, 300, 6
DECK = """
agentdeck: 1
providers:
  far: { type: openai, url: "http://127.0.0.1:PORT/far" LIMITS }
models: { m: { provider: far, id: m, price: { in: 1, out: 1 } } }
tiers: { execution: m }
"""
WORK = """
agentdeck: 1
name: bench
agents:
  ask:
    command: ["PYTHON", "FILE", "MODE", "http://127.0.0.1:PORT/far"]
    gateway: true
    timeout: 10m
"""


# The programs that call -----------------------------------------------------------------------------------------


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


# The runs -------------------------------------------------------------------------------------------------------


def measured(mode: str, python: str = sys.executable, limits: str = "") -> tuple[Any, list[float]]:
    """What the program of a run prints, and when the server counted its calls."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.limit_server", str(folder / "seen"), "0", "1"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        try:
            (folder / "deck.yaml").write_text(DECK.replace("PORT", port).replace("LIMITS", limits))
            work = WORK.replace("PYTHON", python).replace("FILE", str(ROOT / "benchmarks/gateway.py"))
            definition = loads(work.replace("MODE", mode).replace("PORT", port)).definition
            outcome = asyncio.run(run(Launch(definition, folder, db=folder / "run.db", workers=1)))
            assert outcome.state == "done", outcome.view.output
            seen = [float(line.split()[0]) for line in (folder / "seen").read_text().splitlines()]
            return outcome.view.output, sorted(seen)
        finally:
            server.kill()


def most(times: list[float], seconds: float) -> int:
    """The most in any window of this length."""
    first = found = 0
    for last, at in enumerate(times):
        while times[first] <= at - seconds:
            first += 1
        found = max(found, last - first + 1)
    return found


def main() -> None:
    python = sys.argv[1] if len(sys.argv) > 1 else sys.executable
    alone, by = measured("added")[0]
    print(f"one call      {alone:6.1f} ms alone  {by:6.1f} ms by the gateway  + {by - alone:.1f} ms")
    alone, by = measured("streams")[0]
    print(f"{AT_ONCE} streams    {alone:6.2f} s alone   {by:6.2f} s by the gateway   × {by / alone:.2f}")
    client, seen = measured("rate", python, f", limits: {{ requests: {RATE}/{WINDOW}s }}")
    print(f"{PROMPTS} prompts  at most {most(seen, WINDOW)} of {RATE} in any {WINDOW} s, by {client}", end="")
    print(f", in {seen[-1] - seen[0]:.1f} s (the rate alone: {(PROMPTS // RATE) * WINDOW} s)")


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in ("added", "streams", "rate"):
        work = {"added": added, "streams": streams, "rate": rate}[sys.argv[1]]
        print(json.dumps(asyncio.run(work(sys.argv[2], os.environ["OPENAI_BASE_URL"]))))
    else:
        main()

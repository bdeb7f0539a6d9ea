"""What the gateway adds to a call, against a local server in a process of its own.

`python -m benchmarks.gateway [PYTHON]` prints a table. The clients are programs of a run, each beside the same
calls without a gateway, in turns: the server streams 2 pieces in 20 ms (one call), or 100 pieces in 2 s to 64
clients at once. In the last row 1,000 prompts have a rate of 300 in 6 s, a minute scaled down to a tenth, and the
most in any 6 s is what the server counted; with the PYTHON of an environment that has langchain-openai, they come
through ChatOpenAI.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from agentdeck.engine.launch import Launch, run
from agentdeck.workflow.loader import loads
from benchmarks.gateway_client import AT_ONCE, PROMPTS

ROOT = Path(__file__).parents[1]
RATE, WINDOW = 300, 6
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
            work = WORK.replace("PYTHON", python).replace("FILE", str(ROOT / "benchmarks/gateway_client.py"))
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
    main()

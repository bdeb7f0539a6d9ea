"""Recorded requests of two services, replayed through the limits of a provider, on virtual time.

`python -m benchmarks.traces FOLDER` prints one line per trace and set of limits. Each request is a prompt as long
as the recorded one, and its answer has as many tokens; it takes as long as the tokens say. All wait from the
start, so there is always work. The provider counts what it sees in every sliding window, by the moment a request
comes in.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from agentdeck.engine.clock import LoopClock, virtual
from agentdeck.engine.launch import Launch, run
from agentdeck.models.provider import Question, Reply
from agentdeck.models.room import Room
from agentdeck.workflow.loader import loads

#: Seconds for a token that is read, and for one that is said.
READS, SAYS = 1 / 8000, 0.02
#: So many tokens come in one piece.
AT_ONCE = 10
LIMITS = {
    "azure-2023-code-first-1200.csv": (
        "tokens: 300k/min",
        "input_tokens: 300k/min, output_tokens: 6k/min, requests: 120/min",
    ),
    "azure-2023-conv-first-1200.csv": (
        "tokens: 200k/min",
        "input_tokens: 180k/min, output_tokens: 30k/min, requests: 150/min",
    ),
}
DECK = """
agentdeck: 1
limits: { workers: 64 }
providers: { far: { type: simulated, limits: { LIMITS } } }
models: { m: { provider: far, id: m } }
tiers: { execution: m }
"""
WORK = """
agentdeck: 1
name: replay
agents: { a: { prompt: "${task.text}", max_output: 1000, timeout: 10m } }
"""


class Sent(NamedTuple):
    at: float
    requests: int
    input_tokens: int
    output_tokens: int

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Replay:
    """A provider that answers as was recorded; which request it is stands at the prompt's beginning."""

    def __init__(self, rows: list[tuple[int, int]]) -> None:
        self._rows = rows
        self.seen: list[Sent] = []

    async def answer(self, question: Question, said: Callable[[str], None], sent: Callable[[], None]) -> Reply:
        tokens_in, tokens_out = self._rows[int(question.turns[0].text.partition(" ")[0])]
        self.seen.append(Sent(LoopClock().now(), 1, tokens_in, tokens_out))
        await anyio.sleep(tokens_in * READS)
        for at in range(0, tokens_out, AT_ONCE):
            words = min(AT_ONCE, tokens_out - at)
            await anyio.sleep(words * SAYS)
            said("word" * words)
        return Reply("x", tokens_in=tokens_in, tokens_out=tokens_out)

    async def close(self) -> None:
        pass


def replay(file: Path, limits: str) -> list[Sent]:
    """What the provider saw."""
    with file.open() as lines:
        rows = [(int(row["input_tokens"]), int(row["output_tokens"])) for row in csv.DictReader(lines)]
    provider = Replay(rows)

    def tasks() -> Iterator[dict[str, Any]]:
        for number, (tokens_in, _) in enumerate(rows):
            yield {"text": f"{number} " + "word" * tokens_in}

    async def main(folder: Path) -> None:
        (folder / "deck.yaml").write_text(DECK.replace("LIMITS", limits))
        await run(Launch(loads(WORK).definition, folder, {}, tasks(), 64), None, LoopClock())

    make, Room._make = Room._make, lambda room, name: provider  # type: ignore[method-assign,assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            anyio.run(main, Path(folder), backend_options=virtual())
    finally:
        Room._make = make  # type: ignore[method-assign]
    return provider.seen


def worst(seen: list[Sent], what: str, seconds: float = 60.0) -> int:
    """The most in any window."""
    times = [one.at for one in seen]
    sums = [0]
    for one in seen:
        sums.append(sums[-1] + getattr(one, what))
    return max(sums[i + 1] - sums[bisect_right(times, at - seconds)] for i, at in enumerate(times))


def used(seen: list[Sent], what: str, count: float) -> float:
    """The share of a limit per minute that was used in the whole windows from the first request on; the last one
    is left out, for there the work ends."""
    windows = int((seen[-1].at - seen[0].at) / 60.6)
    whole = sum(float(getattr(one, what)) for one in seen if one.at < seen[0].at + windows * 60.6)
    return whole / (windows * count * 1.01)


def replayed(folder: Path) -> Iterator[tuple[str, float, float]]:
    """Of each trace and set of limits: what it is, the most of any limit in any window, and how much of the limit
    that binds was used."""
    from agentdeck.workflow.units import rate

    for name, several in LIMITS.items():
        for limits in several:
            seen = replay(folder / name, limits)
            of = {what: rate(most).count for what, _, most in (one.partition(": ") for one in limits.split(", "))}
            most = max(worst(seen, what) / count for what, count in of.items())
            binds = max(used(seen, what, count) for what, count in of.items())
            yield f"{name}, {limits}", most, binds


def main() -> None:
    for told, most, binds in replayed(Path(sys.argv[1])):
        print(f"{told}: {most:.1%} at most, {binds:.1%} used", flush=True)


if __name__ == "__main__":
    main()

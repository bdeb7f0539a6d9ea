"""Recorded requests of two services, replayed through the limits of a provider, on virtual time.

`python -m benchmarks.traces FOLDER` prints one line per trace and set of limits; `--generated` also those of
generated traces, which the reservations were not made for. Each request is a prompt as long as the recorded one,
and its answer has as many tokens; it takes as long as the tokens say. All wait from the start, so there is always
work.

The provider counts in every sliding window, in three ways, of which the worst is printed: an answer's tokens when
each is generated, all of them when it ends, and all of them when its request comes in.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import anyio

from agentdeck.engine.launch import Launch, run
from agentdeck.providers.provider import PromptReply, PromptRequest
from agentdeck.providers.registry import ProviderRegistry
from agentdeck.workflow.loader import loads
from agentdeck.workflow.units import rate
from tests.virtual_clock import LoopClock, virtual

#: Seconds for a token that is read, and for one that is said.
READS, SAYS = 1 / 8000, 0.02
#: So many tokens come in one piece.
AT_ONCE = 10
#: The longest answer that is allowed.
MOST = 1000
CODE, CONVERSATION = "azure-2023-code-first-1200.csv", "azure-2023-conv-first-1200.csv"
LIMITS = {
    CODE: (
        "tokens: 300k/min",
        "input_tokens: 300k/min, output_tokens: 6k/min, requests: 120/min",
        "output_tokens: 3k/min",
        "output_tokens: 6k/min",
        "output_tokens: 10k/min",
    ),
    CONVERSATION: (
        "tokens: 200k/min",
        "input_tokens: 180k/min, output_tokens: 30k/min, requests: 150/min",
        "output_tokens: 15k/min",
        "output_tokens: 30k/min",
    ),
}
GENERATED_LIMITS = ("output_tokens: 10k/min", "output_tokens: 30k/min")
DECK = """
agentdeck: 1
limits: { workers: 64 }
providers: { far: { type: simulated, limits: { LIMITS } } }
models: { m: { provider: far, id: m } }
tiers: { execution: m }
"""
WORK = f"""
agentdeck: 1
name: replay
agents: {{ a: {{ prompt: "${{task.text}}", max_output: {MOST}, timeout: 30m }} }}
"""


class Row(NamedTuple):
    """One request: how long its prompt and its answer are."""

    tokens_in: int
    tokens_out: int


class Seen(NamedTuple):
    """One answered request, as the provider saw it. `pieces`: when which tokens were generated."""

    at: float
    ended: float
    row: Row
    pieces: Sequence[tuple[float, int]]

    def counted(self, what: str, how: str) -> Iterable[tuple[float, int]]:
        """When how much of a limit is counted, for a server that counts answers by `how`."""
        said: Iterable[tuple[float, int]] = {
            "request": ((self.at, self.row.tokens_out),),
            "token": self.pieces,
            "end": ((self.ended, self.row.tokens_out),),
        }[how]
        if what == "requests":
            return ((self.at, 1),)
        if what == "output_tokens":
            return said
        read = ((self.at, self.row.tokens_in),)
        return read if what == "input_tokens" else (*read, *said)


class Replay:
    """A provider that answers as was recorded; which request it is stands at the prompt's beginning."""

    def __init__(self, rows: Sequence[Row], says: float = SAYS) -> None:
        self._rows = rows
        self._says = says
        self.seen: list[Seen] = []

    async def answer(
        self, question: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
    ) -> PromptReply:
        sent()
        now = LoopClock().now
        row, at, pieces = self._rows[int(question.messages[0].text.partition(" ")[0])], now(), []
        await anyio.sleep(row.tokens_in * READS)
        said("")
        for start in range(0, row.tokens_out, AT_ONCE):
            words = min(AT_ONCE, row.tokens_out - start)
            await anyio.sleep(words * self._says)
            pieces.append((now(), words))
            said("word" * words)
        self.seen.append(Seen(at, now(), row, pieces))
        return PromptReply("x", tokens_in=row.tokens_in, tokens_out=row.tokens_out)

    async def close(self) -> None:
        pass


def recorded(file: Path) -> list[Row]:
    with file.open() as lines:
        return [Row(int(row["input_tokens"]), int(row["output_tokens"])) for row in csv.DictReader(lines)]


def generated(kind: str, count: int = 1200, seed: int = 1) -> list[Row]:
    """Answers of a kind: heavy-tailed, of two very different lengths, slowly growing, changing all at once, or in
    sections of very different lengths."""
    random = Random(seed)
    if kind == "sections":
        return sections(count, random)
    length: Callable[[int], float] = {
        "heavy": lambda n: random.lognormvariate(4, 1.2),
        "two kinds": lambda n: random.gauss(30, 5) if random.random() < 0.9 else random.gauss(800, 80),
        "growing": lambda n: random.lognormvariate(3 + 2.5 * n / count, 0.6),
        "changing": lambda n: random.gauss(600, 100) if n // 100 % 2 else random.gauss(40, 10),
    }[kind]
    return [Row(random.randint(50, 2000), max(1, min(MOST, int(length(n))))) for n in range(count)]


def sections(count: int, random: Random) -> list[Row]:
    """Short, middling and long answers, of which 5 to 120 alike follow each other."""
    rows: list[Row] = []
    while len(rows) < count:
        mean = random.choice((15, 100, 400, 900))
        lengths = (int(random.gauss(mean, 0.15 * mean)) for _ in range(random.randint(5, 120)))
        rows += [Row(random.randint(50, 500), max(1, min(MOST, length))) for length in lengths]
    return rows[:count]


def replay(rows: Sequence[Row], limits: str, says: float = SAYS) -> list[Seen]:
    """What the provider saw, in the order in which the requests came in."""
    provider = Replay(rows, says)

    def tasks() -> Iterator[dict[str, Any]]:
        for number, row in enumerate(rows):
            yield {"text": f"{number} " + "word" * row.tokens_in}

    async def main(folder: Path) -> None:
        (folder / "deck.yaml").write_text(DECK.replace("LIMITS", limits))
        await run(Launch(loads(WORK).definition, folder, {}, tasks(), 64), None, LoopClock())

    make, ProviderRegistry._make = ProviderRegistry._make, lambda room, name: provider  # type: ignore[method-assign,assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            anyio.run(main, Path(folder), backend_options=virtual())
    finally:
        ProviderRegistry._make = make  # type: ignore[method-assign]
    return sorted(provider.seen)


def worst(seen: Sequence[Seen], what: str, how: str, seconds: float = 60.0) -> int:
    """The most in any window."""
    counted = sorted(each for one in seen for each in one.counted(what, how))
    times, sums = [at for at, _ in counted], [0]
    for _, amount in counted:
        sums.append(sums[-1] + amount)
    return max(sums[i + 1] - sums[bisect_right(times, at - seconds)] for i, at in enumerate(times))


def used(seen: Sequence[Seen], what: str, count: float, seconds: float = 60.0) -> float:
    """The share of a limit that was used in the whole windows from the first request on; the last one is left
    out, for there the work ends."""
    windows = int((seen[-1].at - seen[0].at) / (seconds * 1.01))
    end = seen[0].at + windows * seconds * 1.01
    counted = (each for one in seen for each in one.counted(what, "request"))
    return sum(amount for at, amount in counted if at < end) / (windows * count * 1.01)


class Result(NamedTuple):
    """The most in any window as a share of its limit, by how a server counts; how much of the limit that binds
    was used."""

    most: dict[str, float]
    used: float


def measured(rows: Sequence[Row], limits: str, says: float = SAYS) -> Result:
    seen = replay(rows, limits, says)
    of = {what: rate(most).count for what, _, most in (one.partition(": ") for one in limits.split(", "))}
    most = {
        how: max(worst(seen, what, how) / count for what, count in of.items())
        for how in ("token", "end", "request")
    }
    return Result(most, max(used(seen, what, count) for what, count in of.items()))


def replayed(folder: Path, *, more: bool = False) -> Iterator[tuple[str, Result]]:
    """Of each trace and set of limits: what it is, and what was measured."""
    for name, several in LIMITS.items():
        for limits in several:
            yield f"{name}, {limits}", measured(recorded(folder / name), limits)
    if more:
        for kind in ("heavy", "two kinds", "growing", "changing", "sections"):
            for limits in GENERATED_LIMITS:
                yield f"generated: {kind}, {limits}", measured(generated(kind), limits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--generated", action="store_true")
    given = parser.parse_args()
    for told, (most, binds) in replayed(given.folder, more=given.generated):
        shares = ", ".join(f"{how} {share:.1%}" for how, share in most.items())
        print(f"{told}: at most {shares}; {binds:.1%} used", flush=True)


if __name__ == "__main__":
    main()

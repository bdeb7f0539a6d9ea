"""`concurrent: auto` at a provider whose limit moves, beside fixed settings and an AIMD on total times.

    python -m benchmarks.pace [--seeds 1 2] [--only refuses] [--lengths alike] [--fixed 4 8 16]

The real engine, limits and store run on a virtual clock; only the provider is simulated. It answers `limit` calls
at once: 4, then 16, then 8. What it does with more is the scenario: it refuses them with 429, it lets them wait
for their first token, all answers slow down together, or some wait and the rest is refused with 529. Answers have
about the same length, or some are twenty times as long as the others. Counted are the answers that are complete
when the time is over, as a share of those of the best fixed setting.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import exp
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, NamedTuple

import anyio

from agentdeck.engine.launch import Launch, Watch, run
from agentdeck.engine.run_control import RunControl
from agentdeck.errors import StepError
from agentdeck.limits import provider_health
from agentdeck.limits.adaptive_concurrency import AdaptiveConcurrency
from agentdeck.limits.answer_speed import AnswerSpeed
from agentdeck.providers.provider import PromptReply, PromptRequest
from agentdeck.providers.registry import ProviderRegistry
from agentdeck.scheduler import events as ev
from agentdeck.store import provider_reservations
from agentdeck.workflow.loader import loads
from tests.observing import EventCollector
from tests.virtual_clock import LoopClock, virtual

#: Seconds from which the provider answers so many calls at once, and the seconds in all.
PHASES = ((0.0, 4), (100.0, 16), (220.0, 8))
END = 320.0
#: More than any setting answers in that time.
TASKS = 2500
FIXED = (4, 6, 8, 10, 12, 16, 24)
SCENARIOS = ("refuses", "waits", "slows", "waits, then refuses")
LENGTHS = ("alike", "very different")
#: Seconds until the first token and per token, at a provider that has room; tokens of a piece of the stream.
FIRST, EACH, PIECE = 0.4, 0.02, 10
WORK = """
agentdeck: 1
name: pace
agents: { ask: { prompt: "Say ${task.n}.", retry: { attempts: 50, delay: 500ms, max_delay: 5s }, timeout: 1h } }
"""
DECK = """
agentdeck: 1
limits: { workers: 32 }
providers: { far: { type: simulated, limits: { concurrent: CONCURRENT } } }
models: { m: { provider: far, id: m, price: { in: 1, out: 1 } } }
tiers: { execution: m }
"""


class Found(NamedTuple):
    """Complete answers, requests that were refused, and the median and p95 seconds until the first token."""

    answers: int
    refused: int
    first: float
    first_p95: float


class MovingProvider:
    """A provider with a hidden limit."""

    def __init__(self, scenario: str, lengths: str, seed: int) -> None:
        self._scenario, self._lengths = scenario, lengths
        self._random = Random(seed)
        self._began: float | None = None
        self._live = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self.refused = 0
        self.firsts: list[float] = []

    def _limit(self) -> int:
        passed = LoopClock().now() - (self._began or 0.0)
        return [limit for since, limit in PHASES if passed >= since][-1]

    def _tokens(self) -> int:
        if self._lengths == "alike":
            return self._random.randint(80, 120)
        return self._random.randint(1500, 2500) if self._random.random() < 0.1 else self._random.randint(40, 160)

    async def answer(
        self, question: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
    ) -> PromptReply:
        now = LoopClock().now
        if self._began is None:
            self._began = now()
        tokens, jitter = self._tokens(), exp(self._random.gauss(0.0, 0.3))
        sent()
        came = now()
        await self._enter()
        try:
            await anyio.sleep(FIRST * jitter * self._slower())
            said("")
            self.firsts.append(now() - came)
            for done in range(0, tokens, PIECE):
                said("word " * min(PIECE, tokens - done))
                await anyio.sleep(EACH * min(PIECE, tokens - done) * self._slower())
        finally:
            self._live -= 1
            self._wake()
        return PromptReply("word", tokens_in=50, tokens_out=tokens)

    async def _enter(self) -> None:
        """Wait for room in the order of arrival, or be refused, by the scenario."""
        if self._scenario != "slows" and (self._queue or self._live >= self._limit()):
            room = {"refuses": 0, "waits": 1000}.get(self._scenario, self._limit())
            if len(self._queue) >= room:
                self.refused += 1
                await anyio.sleep(0.05)
                kind = "rate_limit" if self._scenario == "refuses" else "server"
                error = StepError(kind, "too many requests")
                error.overloaded = True
                raise error
            turn = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            await turn
        else:
            self._live += 1

    def _wake(self) -> None:
        while self._queue and self._live < self._limit():
            turn = self._queue.popleft()
            if not turn.done():  # it was not cancelled meanwhile
                self._live += 1
                turn.set_result(None)

    def _slower(self) -> float:
        """A provider that serves more than it can loses a little by it."""
        over = self._live / self._limit()
        return max(1.0, over**1.2) if self._scenario == "slows" else 1.0

    async def close(self) -> None:
        pass


class LatencyAimd(AdaptiveConcurrency):
    """The usual AIMD: one place more in each round, 30 % fewer when calls take twice as long as at best, and half
    after a refusal."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._least = self._now = self._quiet = 0.0

    def record_success(self, at: float, speed: AnswerSpeed, live: int, kind: tuple[str, str] = ("", "")) -> None:
        self._now = self._now + 0.2 * (speed.seconds - self._now) if self._now else speed.seconds
        self._least = min(self._least * 1.0001, self._now) if self._least else self._now
        if self._now > 2.0 * self._least:
            self._shrink(at, 0.7)
        elif live >= self.places and at >= self._quiet:
            self.size = min(float(self.most), self.size + 1.0 / self.size)

    def record_refusal(self, at: float, began: float) -> None:
        self._shrink(at, 0.5)

    def _shrink(self, at: float, factor: float) -> None:
        if at >= self._quiet:
            self.size = max(1.0, self.size * factor)
            self._quiet = at + self._now


@contextmanager
def _instead(provider: MovingProvider, policy: type[AdaptiveConcurrency]) -> Iterator[None]:
    """This provider, and this way to find the number of calls at once. Only a checkout can be changed so."""
    registry: Any = ProviderRegistry
    health: Any = provider_health
    made, found = registry._make, health.AdaptiveConcurrency
    registry._make, health.AdaptiveConcurrency = lambda room, name: provider, policy
    try:
        yield
    finally:
        registry._make, health.AdaptiveConcurrency = made, found


def play(
    scenario: str,
    lengths: str,
    seed: int,
    concurrent: str,
    policy: type[AdaptiveConcurrency] = AdaptiveConcurrency,
) -> Found:
    """One run until the time is over."""
    collector, control = EventCollector(), RunControl("bench")

    async def main(folder: Path, provider: MovingProvider) -> None:
        tasks = ({"n": n} for n in range(TASKS))
        launch = Launch(loads(WORK).definition, folder, {}, tasks, 32)
        async with anyio.create_task_group() as group:

            async def stop() -> None:
                await anyio.sleep(END)
                control.cancel()

            group.start_soon(stop)
            await run(launch, Watch([collector], None, control), LoopClock())
            group.cancel_scope.cancel()

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "deck.yaml").write_text(DECK.replace("CONCURRENT", concurrent))
        provider = MovingProvider(scenario, lengths, seed)
        with _instead(provider, policy):
            anyio.run(main, folder, provider, backend_options=virtual())
    answers = sum(isinstance(event, ev.StepSucceeded) for event in collector.events)
    firsts = sorted(provider.firsts) or [0.0]
    return Found(answers, provider.refused, median(firsts), firsts[int(0.95 * (len(firsts) - 1))])


def main() -> None:
    # A step without a place asks again when a call of its process ends; the rest is for other processes.
    provider_reservations.LOOK = 2.0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--only", choices=SCENARIOS)
    parser.add_argument("--lengths", choices=LENGTHS)
    parser.add_argument("--fixed", type=int, nargs="*", default=FIXED)
    given = parser.parse_args()
    print("| provider | answers | seed | best fixed | auto | refused | first token | AIMD | refused |")
    print("|---|---|---|---|---|---|---|---|---|")
    for scenario in [given.only] if given.only else SCENARIOS:
        for lengths in [given.lengths] if given.lengths else LENGTHS:
            for seed in given.seeds:
                fixed = {n: play(scenario, lengths, seed, str(n)) for n in given.fixed}
                best = max(fixed, key=lambda n: fixed[n].answers)
                auto = play(scenario, lengths, seed, "auto")
                aimd = play(scenario, lengths, seed, "auto", LatencyAimd)
                most = fixed[best]
                print(
                    f"| {scenario} | {lengths} | {seed} | {best}: {most.answers:,} ({most.refused:,} refused,"
                    f" first token {most.first:.1f} / {most.first_p95:.1f} s)"
                    f" | {auto.answers / most.answers:.1%} | {auto.refused:,}"
                    f" | {auto.first:.1f} / {auto.first_p95:.1f} s"
                    f" | {aimd.answers / most.answers:.1%} | {aimd.refused:,} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

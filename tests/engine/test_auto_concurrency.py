"""`concurrent: auto` and `hedge` through the engine, on virtual time: what they look at, and what they find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import anyio

from agentdeck.errors import StepError
from agentdeck.limits.hedging import LEAST
from agentdeck.providers.provider import PromptReply, PromptRequest, RateHeader
from agentdeck.scheduler import events as ev
from tests.engine.test_rates import Fake, Played, fakes

__all__ = ["fakes"]

ASK = "agents: { a: { prompt: 'Say ${task.n}.', retry: { attempts: 50, delay: 100ms }, timeout: 1h } }"
#: Seconds until the first token of an answer, and per token.
FIRST, EACH = 0.4, 0.02


class Streaming:
    """A provider that answers `room` calls at once. With more it does what `full` says: it lets them wait for
    their first token, or refuses them with 529."""

    def __init__(self, room: int, tokens: Callable[[], int], full: str = "waits") -> None:
        self.live = self.most = self.refused = 0
        self._slots = anyio.Semaphore(room)
        self._room, self._tokens, self._full = room, tokens, full

    async def answer(
        self, question: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
    ) -> PromptReply:
        sent()
        if self._full == "refuses" and self.live >= self._room:
            self.refused += 1
            error = StepError("server", "529: overloaded")
            error.overloaded = True
            raise error
        self.live += 1
        self.most = max(self.most, self.live)
        try:
            async with self._slots:
                return await self._say(said)
        finally:
            self.live -= 1

    async def _say(self, said: Callable[[str], None]) -> PromptReply:
        tokens = self._tokens()
        await anyio.sleep(FIRST)
        said("")
        for _ in range(0, tokens, 10):
            said("word " * 10)
            await anyio.sleep(10 * EACH)
        return PromptReply("x", tokens_in=1, tokens_out=tokens)

    async def close(self) -> None:
        pass


def very_different(seed: int = 1) -> Callable[[], int]:
    """One answer in ten is twenty times as long as the others."""
    random = Random(seed)
    return lambda: 2000 if random.random() < 0.1 else 100


def found(played: Played) -> list[int]:
    """The numbers that were found in the second half of the run. How long a run takes depends a little on the
    store's thread, which has no virtual time."""
    changes = [(e.at, int(e.new)) for e in played.of(ev.LimitChanged) if e.name == "one.concurrent.now"]
    half = (played.log[0].at + played.log[-1].at) / 2
    before = [new for at, new in changes if at < half]
    return [*before[-1:], *(new for at, new in changes if at >= half)]


def test_long_answers_are_no_congestion(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    fakes["one"] = far = Streaming(1000, very_different())  # type: ignore[assignment]
    played = Played(tmp_path, ASK, limits="concurrent: auto", tasks=200, workers=24)
    assert played.outcome.state == "done"
    assert far.most == 24, "as many as there are workers"


def test_calls_that_wait_for_their_first_token_are(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    fakes["one"] = Streaming(6, very_different())  # type: ignore[assignment]
    played = Played(tmp_path, ASK, limits="concurrent: auto", tasks=200, workers=24)
    assert played.outcome.state == "done"
    assert 5 <= min(found(played)) <= max(found(played)) <= 12, "what it answers at once, and few that wait"


def test_a_server_that_says_529_has_too_many(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    fakes["one"] = far = Streaming(6, lambda: 100, "refuses")  # type: ignore[assignment]
    played = Played(tmp_path, ASK, limits="concurrent: auto", tasks=200, workers=24)
    assert played.outcome.state == "done"
    assert far.refused <= 0.1 * 200
    assert 5 <= min(found(played)) <= max(found(played)) <= 7


def test_what_the_headers_say_is_left_is_the_most(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    """It takes two more requests, and all of sixty in a minute."""
    live = most = 0

    class Telling(Fake):
        async def answer(
            self, question: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
        ) -> PromptReply:
            nonlocal live, most
            live += 1
            most = max(most, live)
            reply = await super().answer(question, said, sent)
            live -= 1
            return reply

    headers = {"requests": RateHeader(60, 2, 60.0)}
    fakes["one"] = Telling(lambda question: PromptReply("x", tokens_in=1, tokens_out=1, headers=headers))
    played = Played(tmp_path, ASK, limits="concurrent: auto", provider="learn: false", tasks=40, workers=24)
    assert played.outcome.state == "done"
    assert most <= 6, "four to begin with"


class Paced:
    """Answers of very different length, of which every tenth comes ten times as slowly, or begins late."""

    def __init__(self, late: str) -> None:
        self.calls = self.cancelled = 0
        self._late = late
        self._tokens = very_different()

    async def answer(
        self, question: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
    ) -> PromptReply:
        self.calls += 1
        late = self.calls % 10 == 0 and self.calls > 2 * LEAST
        tokens, factor = self._tokens(), 1 + self.calls % 7 / 100
        sent()
        try:
            await anyio.sleep((20.0 if late and self._late == "first" else FIRST) * factor)
            said("")
            for _ in range(0, tokens, 10):
                said("word " * 10)
                await anyio.sleep(10 * EACH * factor * (10 if late and self._late == "each" else 1))
        except BaseException:
            self.cancelled += 1
            raise
        return PromptReply("x", tokens_in=1, tokens_out=tokens)

    async def close(self) -> None:
        pass


HEDGED = "agents: { a: { prompt: p, hedge: p95, timeout: 1h } }"


def test_a_long_answer_gets_no_second_call(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    fakes["one"] = Paced("never")  # type: ignore[assignment]
    second = fakes["two"] = Fake(lambda question: PromptReply("second", tokens_in=1, tokens_out=1))
    played = Played(tmp_path, HEDGED, tier="[mid, small]", tasks=200, workers=4)
    assert played.outcome.state == "done"
    long = [e for e in played.of(ev.StepSucceeded) if e.usage.tokens_out == 2000]
    assert len(long) >= 10
    assert {e.usage.model for e in long} == {"mid"}
    assert len(second.calls) <= 0.05 * 200, "one in twenty is later than 95 per cent"


def test_an_answer_that_begins_late_or_comes_slowly_does(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    for late, what in (("first", "no answer after"), ("each", "a slow answer after")):
        first = fakes["one"] = Paced(late)  # type: ignore[assignment]
        second = fakes["two"] = Fake(lambda question: PromptReply("second", tokens_in=1, tokens_out=1))
        played = Played(tmp_path, HEDGED, tier="[mid, small]", tasks=200, workers=4)
        assert played.outcome.state == "done"
        notes = [e for e in played.of(ev.Noted) if e.text.startswith(what)]
        assert len(notes) >= 5
        assert len(second.calls) <= 0.05 * 200
        assert isinstance(first, Paced)
        assert first.cancelled >= 5

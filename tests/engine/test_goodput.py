"""Prompts under random faults, on virtual time: how much of what is possible gets done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from agentdeck.errors import StepError
from agentdeck.providers.provider import PromptReply, PromptRequest
from agentdeck.scheduler import events as ev
from tests.engine.test_rates import Fake, Played, fakes

__all__ = ["fakes"]

AGENT = "agents: { a: { prompt: 'Say ${task.n}.', retry: { attempts: 6 }, timeout: 1h } }"


class Faulty(Fake):
    """Answers after a second; a share of the calls fails or is throttled instead."""

    def __init__(self, failed: float, throttled: float, seed: int = 7) -> None:
        random = Random(seed)

        def answer(question: PromptRequest) -> PromptReply | StepError:
            chance = random.random()
            if chance < failed:
                return StepError("server", "500")
            if chance < failed + throttled:
                return StepError("rate_limit", "429")
            return PromptReply("x", tokens_in=1, tokens_out=1)

        super().__init__(answer, takes=1.0)


@pytest.mark.parametrize(
    ("failed", "throttled"), [(0.02, 0.01), (0.02, 0.0), (0.0, 0.02), (0.025, 0.025), (0.04, 0.01)]
)
def test_random_faults_cost_little_more_than_the_calls_they_hit(
    tmp_path: Path, fakes: dict[str, Fake], failed: float, throttled: float
) -> None:
    fakes["one"] = faulty = Faulty(failed, throttled)
    played = Played(tmp_path, AGENT, tasks=1200, workers=15)
    assert played.outcome.state == "done"
    seconds = played.log[-1].at - played.log[0].at
    possible = len(faulty.calls) / 15  # each call takes a second
    assert possible / seconds >= 0.9
    assert 1200 / seconds >= 0.9 * 15 * (1 - failed - throttled)


@pytest.mark.parametrize("retry_after", [None, 2.0])
def test_one_burst_of_429s_is_one_short_wait(
    tmp_path: Path, fakes: dict[str, Fake], retry_after: float | None
) -> None:
    def answer(question: PromptRequest) -> PromptReply | StepError:
        if len(fakes["one"].calls) <= 8:
            return StepError("rate_limit", "429", retry_after=retry_after)
        return PromptReply("x", tokens_in=1, tokens_out=1)

    fakes["one"] = Fake(answer, takes=0.1)
    played = Played(tmp_path, AGENT, tasks=8, workers=8)
    assert played.outcome.state == "done"
    assert len(played.of(ev.AttemptFailed)) == 8
    seconds = played.log[-1].at - played.log[0].at
    assert seconds <= (2.0 if retry_after is None else 2.0 + 0.2 + 0.1 + 4 * 0.1 + 0.5)
    times = sorted(at for at, _ in fakes["one"].calls)
    assert times[8] - times[0] >= (0.5 if retry_after is None else 2.0)


def test_calls_that_were_sent_before_the_wait_began_do_not_make_it_longer(
    tmp_path: Path, fakes: dict[str, Fake]
) -> None:
    """Thirty calls go out together, and are throttled in three waves."""
    throttled = iter(range(30))

    def answer(question: PromptRequest) -> PromptReply | StepError:
        if next(throttled, None) is not None:
            return StepError("rate_limit", "429")
        return PromptReply("x", tokens_in=1, tokens_out=1)

    class Spread(Fake):
        async def answer(
            self, question: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
        ) -> PromptReply:
            self._takes = 0.05 * (1 + len(self.calls) % 3)
            return await super().answer(question, said, sent)

    fakes["one"] = Spread(answer)
    played = Played(tmp_path, AGENT, tasks=30, workers=30)
    assert played.outcome.state == "done"
    assert played.log[-1].at - played.log[0].at < 6

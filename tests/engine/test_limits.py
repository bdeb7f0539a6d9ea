"""Limits as a provider's server counts: a real server that accepts late, three processes, a kill; and answers
whose lengths are known only when they end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from agentdeck.agents.prompt_runner import PromptVerb
from agentdeck.agents.verb import AttemptContext
from agentdeck.errors import StepError
from agentdeck.providers.provider import PromptReply, PromptRequest
from agentdeck.scheduler import events as ev
from benchmarks.limits import Setup, Trial, evaluate
from benchmarks.traces import Row, generated, measured, recorded
from tests.engine.test_rates import ONE, Fake, Played, fakes, worst
from tests.virtual_clock import LoopClock

__all__ = ["fakes"]


TRACE = Path(__file__).parents[1] / "data/traces/azure-2023-code-first-300.csv"
AGENTDECK = str(Path(sys.executable).with_name("agentdeck"))


def test_a_server_that_accepts_late_counts_no_more_than_the_limit(tmp_path: Path) -> None:
    """Three windows of two seconds at two providers, late by up to 0.3 s; one process is killed on the way."""
    setup = Setup(providers=2, limit=12, seconds=2.0, windows=4, kills=1.5, changes=100, slow=0.15)
    trial = Trial(tmp_path, setup, AGENTDECK)
    try:
        trial.start()
        spans = trial.run()
    finally:
        trial.close()
    found = evaluate(trial.counted(), spans, setup.seconds, trial.kills)
    assert found.kills >= 1
    assert found.windows >= 4
    assert found.most <= 1.0
    assert found.used >= 0.5, "by so much the delay and the kill shorten these short windows at the worst"


class SlowToSend(Fake):
    """Every other request is sent late, as where a connection has to be made first."""

    async def answer(
        self, question: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
    ) -> PromptReply:
        if len(self.starts) % 2:
            self.starts.append(0)
            await anyio.sleep(9.0)
        else:
            self.starts.append(0)
        return await super().answer(question, said, sent)

    def __init__(self) -> None:
        super().__init__(lambda question: PromptReply("x", tokens_in=1, tokens_out=1), takes=0.1)
        self.starts: list[int] = []


def test_requests_count_from_when_they_are_sent(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    late = fakes["one"] = SlowToSend()
    played = Played(tmp_path, ONE, limits="requests: 5/10s", tasks=40)
    assert played.outcome.state == "done"
    assert worst([at for at, _ in late.calls], 10.0) <= 5


def test_what_was_never_sent_is_not_counted(tmp_path: Path, fakes: dict[str, Fake]) -> None:
    class Unreachable(Fake):
        failed = 0

        async def answer(
            self, question: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
        ) -> PromptReply:
            if self.failed < 5:
                self.failed += 1
                raise StepError("setup", "no key")
            return await super().answer(question, said, sent)

    fakes["one"] = Unreachable(lambda question: PromptReply("x", tokens_in=1, tokens_out=1))
    played = Played(tmp_path, ONE, limits="requests: 5/100s", tasks=10)
    done = played.of(ev.StepSucceeded)
    assert len(done) == 5
    assert max(event.at for event in done) - played.log[0].at < 50, "in the first window"


def test_each_round_of_tools_counts_from_when_its_own_request_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three requests each; before every one something else takes a while."""
    sent: list[float] = []

    async def rounds(self: PromptVerb, work: AttemptContext) -> str:
        for turn in range(3):
            if turn:
                await work.next_request(10, 10)
            await anyio.sleep((len(sent) * 7) % 10)
            work.sent()
            sent.append(LoopClock().now())
            await anyio.sleep(0.5)
            work.answered()
        return "x"

    monkeypatch.setattr(PromptVerb, "run", rounds)
    Played(tmp_path, ONE, limits="requests: 5/10s", tasks=20)
    assert len(sent) == 60
    assert worst(sent, 10.0) <= 5


def test_answers_that_take_longer_than_a_window_may_end_together() -> None:
    """The mix turns from short answers to long ones, which take 90 s each and may count when they end."""
    rows = [Row(100, 15)] * 120 + [Row(100, 900)] * 40
    found = measured(rows, "output_tokens: 10k/min", says=0.1)
    assert found.most["end"] <= 1.0


def test_long_answers_among_short_ones_fit_at_every_moment() -> None:
    """The lengths change all at once, and answers come fast: looking at a few moments ahead let a window come to
    101.3 percent."""
    found = measured(generated("sections", 210, seed=5), "output_tokens: 10k/min", says=0.005)
    assert found.most["token"] <= 1.0
    assert found.most["end"] <= 1.0
    assert found.used >= 0.8


@pytest.mark.parametrize(
    ("rows", "limit", "least"),
    [
        pytest.param(recorded(TRACE), "6k", 0.5, id="recorded code"),
        pytest.param(generated("heavy", 200, seed=7), "10k", 0.5, id="heavy-tailed"),
        pytest.param(generated("changing", 200, seed=7), "10k", 0.5, id="changing at once"),
    ],
)
def test_no_window_has_more_output_than_the_limit(rows: list[Row], limit: str, least: float) -> None:
    """Whether a token counts when it is generated or when its answer ends. Nothing was seen of the agent before,
    so the first answers are reserved as long as they may be."""
    found = measured(rows, f"output_tokens: {limit}/min")
    assert found.most["token"] <= 1.0
    assert found.most["end"] <= 1.0
    assert found.used >= least

"""The clocks of a prompt: a stream that goes on may take minutes, one that stalls is cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from agentdeck.providers.provider import PromptReply, PromptRequest
from agentdeck.scheduler import events as ev
from tests.engine.test_rates import Fake, Played, fakes

__all__ = ["fakes"]

ASKS = "agents: { a: { prompt: 'Say it.', retry: { attempts: 3, delay: 100ms }%s } }"


class Streaming(Fake):
    """Says one word each second, for so many seconds; then it is silent for so many."""

    def __init__(self, seconds: int, silent: float = 0.0) -> None:
        super().__init__(lambda question: PromptReply("all of it", tokens_in=1, tokens_out=1))
        self.seconds = seconds
        self.silent = silent

    async def answer(
        self, question: PromptRequest, said: Callable[[str], None], sent: Callable[[], None]
    ) -> PromptReply:
        for _ in range(self.seconds):
            await anyio.sleep(1.0)
            said("word ")
        await anyio.sleep(self.silent)
        return await super().answer(question, said, sent)


def test_an_answer_that_streams_for_longer_than_half_a_minute_succeeds(
    tmp_path: Path,
    fakes: dict[str, Fake],
) -> None:
    fakes["one"] = Streaming(33)
    played = Played(tmp_path, ASKS % "")
    assert played.outcome.state == "done"
    assert len(fakes["one"].calls) == 1


@pytest.mark.parametrize(
    ("written", "seconds", "silent", "clock"),
    [
        ("", 5, 31.0, "idle"),
        ("", 400, 0.0, "attempt"),
        (", timeout: 1m", 5, 58.0, "attempt"),
        (", timeout: { idle: 5s }", 5, 6.0, "idle"),
    ],
)
def test_the_clock_that_is_written_or_else_the_default_cuts_a_prompt(
    tmp_path: Path,
    fakes: dict[str, Fake],
    written: str,
    seconds: int,
    silent: float,
    clock: str,
) -> None:
    fakes["one"] = Streaming(seconds, silent)
    played = Played(tmp_path, ASKS % written)
    assert [event.fault.clock for event in played.of(ev.AttemptFailed)] == [clock] * 3


def test_an_attempt_that_is_allowed_minutes_may_be_silent_for_minutes(
    tmp_path: Path,
    fakes: dict[str, Fake],
) -> None:
    fakes["one"] = Streaming(0, silent=100.0)
    assert Played(tmp_path, ASKS % ", timeout: 2m").outcome.state == "done"

"""Calls that end together: each is followed by its next request before the next one is handled."""

from __future__ import annotations

import asyncio
import math

import pytest

from agentdeck.providers import request_turns
from agentdeck.providers.request_turns import RequestTurns

pytestmark = pytest.mark.anyio
#: Iterations of the event loop between the end of a call and the sending of the next request.
STEPS = 6


@pytest.fixture(autouse=True)
def _no_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """However late a busy machine runs an iteration, the event loop is not found busy."""
    monkeypatch.setattr(request_turns, "BUSY", math.inf)


class Calls:
    """Tasks whose calls end together. `log` has what they do."""

    def __init__(self) -> None:
        self.turns = RequestTurns()
        self.log: list[str] = []

    async def follow(self, name: str) -> None:
        """The call of this task ends, and another request follows."""
        await self.turns.take()
        self.log.append(f"{name} ended")
        await self.pause(STEPS // 2)
        self.turns.extend()
        await self.pause(STEPS // 2)
        self.log.append(f"{name} sent")
        self.turns.release()

    async def leave(self, name: str, seconds: float) -> None:
        """The call of this task ends, and no request follows."""
        await self.turns.take()
        self.log.append(f"{name} ended")
        await asyncio.sleep(seconds)

    async def pause(self, iterations: int) -> None:
        for _ in range(iterations):
            await asyncio.sleep(0)


async def test_one_call_goes_on_to_its_next_request_before_the_next_is_handled() -> None:
    calls = Calls()
    await asyncio.gather(*(calls.follow(name) for name in "abc"))
    assert calls.log == [f"{name} {what}" for name in "abc" for what in ("ended", "sent")]


async def test_a_single_call_does_not_wait() -> None:
    turns = RequestTurns()
    for _ in range(3):
        with pytest.raises(StopIteration):
            turns.take().send(None)
        turns.extend()
        turns.release()


async def test_a_task_that_sends_no_other_request_keeps_no_other_waiting() -> None:
    calls = Calls()
    resting = [asyncio.create_task(calls.leave(name, 60)) for name in "ab"]
    await asyncio.wait_for(calls.follow("c"), 10)
    assert calls.log[-2:] == ["c ended", "c sent"]
    for task in resting:
        task.cancel()
    await asyncio.wait(resting)
    await asyncio.wait_for(calls.follow("d"), 10)


async def test_a_task_that_waits_is_cancelled_at_once_and_the_others_go_on() -> None:
    calls = Calls()
    tasks = [asyncio.create_task(calls.follow(name)) for name in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.sleep(0)
    assert tasks[1].cancelled()
    assert calls.log == ["a ended"]
    await asyncio.wait(tasks)
    assert calls.log == ["a ended", "a sent", "c ended", "c sent"]


async def test_a_task_that_has_its_turn_is_cancelled() -> None:
    calls = Calls()
    tasks = [asyncio.create_task(calls.follow(name)) for name in "ab"]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.wait_for(tasks[1], 10)
    assert calls.log == ["a ended", "b ended", "b sent"]


async def test_an_event_loop_that_is_busy_with_other_streams_holds_up_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_turns, "BUSY", -1.0)  # each iteration takes too long
    calls, over, iterations = Calls(), asyncio.Event(), 0

    async def others() -> None:
        nonlocal iterations
        while not over.is_set():
            iterations += 1
            await asyncio.sleep(0)

    busy = asyncio.create_task(others())
    await asyncio.gather(*(calls.leave(str(number), 0) for number in range(64)))
    over.set()
    await busy
    assert iterations < 16

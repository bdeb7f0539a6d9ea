"""Places at a provider that are passed on from call to call: without asking, and never one too many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from agentdeck.engine.reservation import Reservation
from agentdeck.engine.reservation_batcher import ReservationBatcher
from agentdeck.limits.reservations import NOTHING, Amounts
from agentdeck.limits.token_estimates import PromptEstimate
from agentdeck.scheduler.program import Rule
from agentdeck.store.log import MemoryLog
from agentdeck.store.provider_reservations import Granted, Refused, ReservationAnswer
from agentdeck.store.reservations import SharedReservations
from agentdeck.store.runs import Owner, create_run
from agentdeck.workflow.model import ProviderLimits, Rate
from tests.store.samples import new_run
from tests.virtual_clock import LoopClock, virtual

ONE = Amounts(1, 0, 0)


class Side:
    """One run's part of it. `answers` is what it was told, by step."""

    def __init__(self, log: MemoryLog, name: str, limits: ProviderLimits) -> None:
        self.limits = limits
        self.cooled: list[float] = []
        self.answers: dict[str, ReservationAnswer] = {}
        self.book = SharedReservations(name, name)
        self.clock = LoopClock()
        self.exchange = ReservationBatcher(
            log, self.clock, self.book, lambda _: self.limits, lambda _, until: self.cooled.append(until)
        )
        log.call(lambda db: create_run(db, new_run(name), Owner(name, 2, "elsewhere"), 1e9)).result()

    def grant(self, step: str) -> Reservation:
        return Reservation(
            cast(Rule, None), ("1", step, 1), 0, "m", "p", None, PromptEstimate(ONE, NOTHING, 0), ONE
        )

    def ask(self, step: str) -> Reservation:
        grant = self.grant(step)

        def told(answer: ReservationAnswer) -> None:
            self.answers[step] = answer
            if isinstance(answer, Granted):
                grant.add_row(answer.id)

        self.exchange.reserve(grant, told)
        return grant

    async def hold(self, *steps: str) -> list[Reservation]:
        """Calls that have their places."""
        grants = [self.ask(step) for step in steps]
        await anyio.sleep(0.001)
        assert all(isinstance(self.answers[step], Granted) for step in steps)
        return grants


class Place:
    def __init__(self) -> None:
        self.log = MemoryLog()

    def side(self, name: str, **limits: Any) -> Side:
        return Side(self.log, name, ProviderLimits(**limits))

    def rows(self) -> list[tuple[str, bool]]:
        """(step, whether it is live) in the order in which they were reserved."""
        found = self.log.call(
            lambda db: db.execute("SELECT step, released IS NULL FROM reservations ORDER BY id").fetchall()
        )
        return [(step, bool(live)) for step, live in found.result()]

    def play(self, scene: Callable[[], Any], *sides: Side) -> None:
        async def main() -> None:
            async with anyio.create_task_group() as group:
                for side in sides:
                    group.start_soon(side.exchange.pump)
                await scene()
                group.cancel_scope.cancel()

        anyio.run(main, backend_options=virtual())


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_place_is_passed_on_at_once_and_the_store_hears_of_it_soon(place: Place) -> None:
    side = place.side("r", concurrent=2)

    async def scene() -> None:
        first, _ = await side.hold("a", "b")
        side.exchange.settle(first, ONE)
        next_one = side.grant("c")
        assert side.exchange.pass_on(next_one)
        assert not side.exchange.pass_on(side.grant("d")), "there was one place only"
        await anyio.sleep(0.001)
        assert place.rows() == [("a", True), ("b", True)], "nobody waits to hear of it"
        await anyio.sleep(0.05)
        assert place.rows() == [("a", False), ("b", True), ("c", True)]
        side.exchange.settle(next_one, ONE)
        await anyio.sleep(0.001)
        assert place.rows() == [("a", False), ("b", True), ("c", False)], "a place that is free is told at once"

    place.play(scene, side)


def test_a_call_that_ends_before_its_row_is_written_is_settled_all_the_same(place: Place) -> None:
    side = place.side("r", concurrent=1)

    async def scene() -> None:
        (first,) = await side.hold("a")
        side.exchange.settle(first, ONE)
        short = side.grant("b")
        assert side.exchange.pass_on(short)
        side.exchange.settle(short, ONE)
        await anyio.sleep(0.1)
        assert place.rows() == [("a", False), ("b", False)]
        side.ask("c")
        await anyio.sleep(0.001)
        assert isinstance(side.answers["c"], Granted)

    place.play(scene, side)


def test_calls_that_are_over_in_no_time_wait_for_nobody(place: Place) -> None:
    """The next one asks while the rows of those before it are on their way."""
    side = place.side("r", concurrent=1)

    async def scene() -> None:
        (now,) = await side.hold("0")
        for n in range(1, 200):
            side.exchange.settle(now, ONE)
            now = side.grant(str(n))
            if not side.exchange.pass_on(now):
                now = side.ask(str(n))
                await anyio.sleep(0.001)
                assert isinstance(side.answers[str(n)], Granted), n
            await anyio.sleep(0.003)
        assert side.clock.now() < 1.0

    place.play(scene, side)


def test_between_two_rounds_of_tools_there_is_no_place_to_leave(place: Place) -> None:
    side = place.side("r", concurrent=1)

    async def scene() -> None:
        (first,) = await side.hold("rounds")
        side.exchange.settle(first, None)  # a round is over
        side.ask("other")
        await anyio.sleep(0.001)
        assert isinstance(side.answers["other"], Granted)
        side.exchange.settle(first, ONE)  # and the attempt, before it has a place for the next round
        assert not side.exchange.pass_on(side.grant("third"))
        await anyio.sleep(0.1)
        assert [step for step, live in place.rows() if live] == ["other"]

    place.play(scene, side)


def test_what_asks_beside_it_gets_no_place_that_is_passed_on(place: Place) -> None:
    side = place.side("r", concurrent=1)

    async def scene() -> None:
        (first,) = await side.hold("a")
        side.ask("late")
        side.exchange.settle(first, ONE)
        assert side.exchange.pass_on(side.grant("b"))
        await anyio.sleep(0.1)
        assert isinstance(side.answers["late"], Refused)
        assert place.rows() == [("a", False), ("b", True)]

    place.play(scene, side)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"concurrent": 1}, "the limit was lowered"),
        ({"concurrent": 2, "requests": Rate(10, 60.0)}, "requests are to be counted first"),
        ({"concurrent": 2, "tokens": Rate(10, 60.0)}, "tokens are to be counted first"),
        ({}, "there is no limit any more"),
    ],
)
def test_it_is_asked_for_where_more_than_the_number_of_calls_counts(
    place: Place, limits: dict[str, Any], why: str
) -> None:
    side = place.side("r", concurrent=2)

    async def scene() -> None:
        first, _ = await side.hold("a", "b")
        side.limits = ProviderLimits(**limits)
        side.exchange.settle(first, ONE)
        assert not side.exchange.pass_on(side.grant("c")), why

    place.play(scene, side)


def test_it_is_left_to_another_process_that_waits(place: Place) -> None:
    side, other = place.side("r", concurrent=2), place.side("s", concurrent=2)

    async def scene() -> None:
        first, second = await side.hold("a", "b")
        for _ in range(12):
            other.ask("theirs")
            await anyio.sleep(0.1)
        assert isinstance(other.answers["theirs"], Refused)
        side.exchange.settle(first, ONE)
        assert side.exchange.pass_on(side.grant("c")), "it has not heard of the other yet"
        await anyio.sleep(0.1)
        side.exchange.settle(second, ONE)
        assert not side.exchange.pass_on(side.grant("d"))
        side.ask("d")
        await anyio.sleep(0.001)
        assert isinstance(side.answers["d"], Refused)
        other.ask("theirs")
        await anyio.sleep(0.001)
        assert isinstance(other.answers["theirs"], Granted)

    place.play(scene, side, other)


def test_what_another_process_was_told_is_heard_while_places_are_passed_on(place: Place) -> None:
    side, other = place.side("r", concurrent=1), place.side("s", concurrent=1)

    async def scene() -> None:
        (now,) = await side.hold("0")
        until = side.clock.now() + 30
        other.exchange.write(lambda db, _: other.book.cool_down(db, "p", until))
        await anyio.sleep(0.001)
        side.exchange.settle(now, ONE)
        now = side.grant("1")
        assert side.exchange.pass_on(now)
        await anyio.sleep(0.05)
        assert side.cooled == [until]
        side.exchange.settle(now, ONE)
        assert not side.exchange.pass_on(side.grant("2"))

    place.play(scene, side, other)


def test_what_was_passed_on_last_is_written_when_the_run_ends(place: Place, tmp_path: Path) -> None:
    side = place.side("r", concurrent=2)

    async def scene() -> None:
        first, second = await side.hold("a", "b")
        side.exchange.settle(first, ONE)
        side.exchange.settle(second, ONE)
        ended = side.grant("c")
        assert side.exchange.pass_on(ended)
        assert side.exchange.pass_on(side.grant("d"))
        side.exchange.settle(ended, Amounts(1, 7, 8))
        side.exchange.close()

    place.play(scene, side)
    assert place.rows() == [("a", False), ("b", False), ("c", False), ("d", False)]
    used = place.log.call(lambda db: db.execute("SELECT tokens_in, tokens_out FROM reservations").fetchall())
    assert used.result()[2] == (7, 8)

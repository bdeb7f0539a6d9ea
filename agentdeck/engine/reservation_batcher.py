"""What a run and the store tell each other of reservations: in turns, one transaction for all that has come
together meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import anyio

from agentdeck.engine.clock import Clock
from agentdeck.engine.grant import Reservation
from agentdeck.errors import StoreError
from agentdeck.limits.rate_window import Amounts, longest
from agentdeck.store import reservations as store
from agentdeck.store.fault_point import passing
from agentdeck.store.log import Log
from agentdeck.workflow.model import ProviderLimits

#: Seconds that the store may hear later of places that were passed on.
LINGER = 0.02


class _Pending(NamedTuple):
    """One that waits for the store. `done` hears what it said; None: it has its place already."""

    grant: Reservation
    done: Callable[[store.Answer], None] | None


class _BatchResult(NamedTuple):
    """What the store said: to each that asked, and of each provider that it was about."""

    answers: Sequence[store.Answer]
    seen: Mapping[str, store.Seen]


class ReservationBatcher:
    """The one way to the book. `limits` tells a provider's limits as they are now; `cooled` hears until when a
    provider is to be left alone, whoever was told so."""

    def __init__(
        self,
        log: Log,
        clock: Clock,
        book: store.Book,
        limits: Callable[[str], ProviderLimits],
        cooled: Callable[[str, float], None],
    ) -> None:
        self._log = log
        self._clock = clock
        self._book = book
        self._limits = limits
        self._cooled = cooled
        self._asks: list[_Pending] = []
        self._settled: list[store.Settled] = []
        self._news: list[Callable[[sqlite3.Connection, float], None]] = []
        self._moved: dict[Reservation, None] = {}
        self._left: Counter[str] = Counter()  # places whose calls have ended since the last turn, by provider
        self._coming: dict[
            Reservation, tuple[float, Amounts | None] | None
        ] = {}  # passed on, their rows not written yet
        self._seen: dict[str, store.Seen] = {}
        self._wake = anyio.Event()
        self._gone: set[Reservation] = set()  # of those, which are settled with their rows
        self._looking = False
        self._later: asyncio.TimerHandle | None = None

    def ask(self, grant: Reservation, done: Callable[[store.Answer], None]) -> None:
        """Have it reserved as soon as there is room; `done` hears whether there was."""
        self._asks.append(_Pending(grant, done))
        self._came()

    def pass_on(self, grant: Reservation) -> bool:
        """Let a call have the place of one of this run that has just ended. Only the number of calls at once may
        be limited: that stays as it is, so nobody needs to be asked, and the store is told afterwards."""
        provider = grant.provider
        limits, seen = self._limits(provider), self._seen.get(provider)
        most = limits.concurrent
        if (
            not self._left[provider]
            or seen is None
            or seen.learnt
            or longest(limits)
            or not isinstance(most, int)
        ):
            return False
        if seen.live > most or seen.owed or seen.cooldown > self._clock.now():
            return False
        self._left[provider] -= 1
        self._coming[grant] = None
        self._asks.append(_Pending(grant, None))
        self._came()
        return True

    def settle(self, grant: Reservation, want: Amounts | None) -> None:
        """Its last call has ended and came to `want`; None: to what was reserved."""
        if grant in self._coming:
            self._coming[grant] = grant.at, want
        elif grant.ids:
            self._left[grant.provider] += grant.live  # between two rounds of tools it has none
            grant.live = False
            self._moved.pop(grant, None)
            self._settled.append(store.Settled(grant.ids[-1], grant.provider, grant.at, want))
            self._came()

    def move(self, grant: Reservation) -> None:
        """Its call has been sent, or its answer has begun or become longer. The store hears of it soon: until
        then the call counts as one that was not sent, which is never too little."""
        if grant.live:
            self._moved[grant] = None
            self._came()

    def tell(self, news: Callable[[sqlite3.Connection, float], None]) -> None:
        """To be done in the next turn."""
        self._news.append(news)
        self._came()

    async def pump(self) -> None:
        """Take turns, as long as the run lasts."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            if self._later is not None:
                self._later.cancel()
                self._later = None
            if self._asks or self._settled or self._news or self._moved:
                try:
                    await self._turn()
                except StoreError:
                    return  # the log says so itself, and the run stops

    def _came(self) -> None:
        """Something has come together. Once all that happens now has happened: what nobody waits to hear of, as
        each place that was left is passed on already, is told with the next thing that somebody does wait for."""
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        if self._news or any(self._left.values()) or any(ask.done is not None for ask in self._asks):
            self._wake.set()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(LINGER, lambda: self._wake.set())

    async def _turn(self) -> None:
        asks, self._asks = self._asks, []
        turn = self._next(asks)
        answers, seen = await asyncio.wrap_future(self._log.call(turn))
        for name, one in seen.items():
            if one.cooldown > max(self._clock.now(), self._cooldown(name)):
                self._cooled(name, one.cooldown)
        self._seen.update(seen)
        if answers:
            passing("rates.reserved")
        for ask, answer in zip(asks, answers, strict=True):
            if ask.done is None:
                self._written(ask.grant, answer)
        again: list[_Pending] = []
        for ask, answer in zip(asks, answers, strict=True):
            if ask.done is None:
                continue
            if isinstance(answer, store.Refused) and len(again) < self._left[ask.grant.provider]:
                again.append(ask)  # a place was left meanwhile, and who has it is not decided yet
            else:
                ask.done(answer)
        if again:
            self._asks = again + self._asks
            self._came()

    def _next(self, asks: Sequence[_Pending]) -> Callable[[sqlite3.Connection], _BatchResult]:
        """What is to be done in the writer's thread about these and all that has come together. What ended before
        its row was written is settled with it."""
        settled, self._settled = self._settled, []
        news, self._news = self._news, []
        moved, self._moved = [_moved(grant) for grant in self._moved], {}
        self._left.clear()
        wanted = [_wanted(one, done is None, self._coming.get(one)) for one, done in asks]
        self._gone = {one for one, done in asks if done is None and self._coming[one] is not None}
        limits = {one.provider: self._limits(one.provider) for one in wanted}
        providers = {*limits, *(one.provider for one in settled)}

        def turn(db: sqlite3.Connection) -> _BatchResult:
            now = self._clock.now()
            self._book.move(db, moved, now)
            self._book.settle(db, settled, now)
            for tell in news:
                tell(db, now)
            answers = self._book.reserve(db, wanted, limits, now)
            return _BatchResult(answers, {name: self._book.seen(name, now) for name in providers})

        return turn

    def _cooldown(self, provider: str) -> float:
        seen = self._seen.get(provider)
        return 0.0 if seen is None else seen.cooldown

    def _written(self, grant: Reservation, answer: store.Answer) -> None:
        """The row of a call that began without one. It may have ended while that was written."""
        ended = self._coming.pop(grant)
        assert isinstance(answer, store.Granted)
        grant.placed(answer.id)
        if grant in self._gone:
            grant.live = False  # settled in the same transaction
        elif ended is not None:
            grant.at, want = ended
            self.settle(grant, want)

    def close(self) -> None:
        """The run is over here: nothing of it is under way any more."""
        turn = self._next([ask for ask in self._asks if ask.done is None])

        def last(db: sqlite3.Connection) -> None:
            turn(db)
            self._book.release_all(db, self._clock.now())

        with suppress(StoreError):
            self._log.call(last)

    def reset(self) -> None:
        """The store was rolled back: read it anew."""
        self._book.reset()


def _wanted(grant: Reservation, passed_on: bool, ended: tuple[float, Amounts | None] | None) -> store.Wanted:
    want = grant.want._replace(tokens_out=grant.most)
    return store.Wanted(grant.provider, *grant.where, want, grant.estimate.more, passed_on, ended, grant.forecast)


def _moved(grant: Reservation) -> store.Moved:
    return store.Moved(grant.ids[-1], grant.provider, *grant.stage, grant.most, grant.forecast)

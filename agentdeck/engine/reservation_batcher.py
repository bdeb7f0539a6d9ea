"""Batches the reservations of a run into one store transaction at a time.

While a transaction is under way, requests, settlements and progress gather for the next one.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeAlias

import anyio

from agentdeck.engine.clock import Clock
from agentdeck.engine.reservation import Reservation
from agentdeck.errors import StoreError
from agentdeck.limits.rate_window import longest
from agentdeck.limits.reservations import Amounts
from agentdeck.store import provider_reservations as store
from agentdeck.store.fault_point import reach_fault_point
from agentdeck.store.log import Log
from agentdeck.store.reservations import SharedReservations
from agentdeck.workflow.model import ProviderLimits

#: Seconds by which the store may learn later of places that were passed on.
LINGER = 0.02

#: A call that ended before its row was written: from when it counts, and what it used. It has no rate.
_Ended: TypeAlias = tuple[float, Amounts | None]


class _Pending(NamedTuple):
    """A reservation that waits for the store. `done` is called with the answer; None: it has its place
    already."""

    call: Reservation
    done: Callable[[store.ReservationAnswer], None] | None


class _BatchResult(NamedTuple):
    """The store's answers, and the state of each provider that the transaction was about."""

    answers: Sequence[store.ReservationAnswer]
    seen: Mapping[str, store.ProviderState]


class ReservationBatcher:
    """The only access of a run to the reservations in the store. `limits` returns a provider's current limits;
    `cooled` is called with the time until which all processes have to leave a provider alone."""

    def __init__(
        self,
        log: Log,
        clock: Clock,
        shared: SharedReservations,
        limits: Callable[[str], ProviderLimits],
        cooled: Callable[[str, float], None],
    ) -> None:
        self._log = log
        self._clock = clock
        self._shared = shared
        self._limits = limits
        self._cooled = cooled
        self._pending: list[_Pending] = []
        self._settled: list[store.SettledCall] = []
        self._writes: list[Callable[[sqlite3.Connection, float], None]] = []
        self._progress: dict[Reservation, None] = {}
        #: Places, by provider, whose calls have ended since the last transaction.
        self._free: Counter[str] = Counter()
        #: Calls that got a place passed on, whose rows are not written yet.
        self._unwritten: dict[Reservation, _Ended | None] = {}
        #: Calls of these that the transaction under way settles together with their rows.
        self._settled_with_row: set[Reservation] = set()
        self._seen: dict[str, store.ProviderState] = {}
        self._wake = anyio.Event()
        self._scheduled = False
        self._later: asyncio.TimerHandle | None = None

    def reserve(self, call: Reservation, done: Callable[[store.ReservationAnswer], None]) -> None:
        """Reserve in the next transaction, and call `done` with the answer."""
        self._pending.append(_Pending(call, done))
        self._schedule()

    def pass_on(self, call: Reservation) -> bool:
        """Give a call the place of another call of this run that has just ended. Returns False where there is
        none.

        Possible where only concurrency is limited: the number of calls stays the same, so the store need not
        agree and learns of it afterwards."""
        provider = call.provider
        limits, seen = self._limits(provider), self._seen.get(provider)
        if not self._free[provider] or seen is None or seen.learnt or longest(limits):
            return False
        most = limits.concurrent
        if not isinstance(most, int) or seen.live > most:
            return False
        if seen.owed or seen.cooldown > self._clock.now():
            return False
        self._free[provider] -= 1
        self._unwritten[call] = None
        self._pending.append(_Pending(call, None))
        self._schedule()
        return True

    def settle(self, call: Reservation, used: Amounts | None) -> None:
        """The last request has ended and used this; None: what was reserved."""
        if call in self._unwritten:
            self._unwritten[call] = call.request.counts_from, used
        elif call.rows:
            self._free[call.provider] += call.has_place  # between two rounds of tool calls it has none
            call.has_place = False
            self._progress.pop(call, None)
            request = call.request
            self._settled.append(
                store.SettledCall(
                    call.rows[-1], call.provider, request.counts_from, used, request.spaced_from or None
                )
            )
            self._schedule()

    def update(self, call: Reservation) -> None:
        """The request was sent, or its answer has begun or grown. Until the store learns of it, the request
        counts as not sent, which is never too little."""
        if call.has_place:
            self._progress[call] = None
            self._schedule()

    def write(self, write: Callable[[sqlite3.Connection, float], None]) -> None:
        """Run this in the next transaction."""
        self._writes.append(write)
        self._schedule()

    async def pump(self) -> None:
        """Run the transactions, as long as the run lasts."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            if self._later is not None:
                self._later.cancel()
                self._later = None
            if self._pending or self._settled or self._writes or self._progress:
                try:
                    await self._transaction()
                except StoreError:
                    return  # the log reports it, and the run stops

    def close(self) -> None:
        """The run is over in this process: nothing of it is under way any more."""
        batch = self._next_batch([one for one in self._pending if one.done is None])

        def last(db: sqlite3.Connection) -> None:
            batch(db)
            self._shared.release_all(db, self._clock.now())

        with suppress(StoreError):
            self._log.call(last)

    def reset(self) -> None:
        """The store was rolled back: discard what was read."""
        self._shared.reset()

    def _schedule(self) -> None:
        """Decide on the next transaction once all callbacks that are due now have run."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start_or_linger)

    def _start_or_linger(self) -> None:
        """A transaction that no call waits for, as each free place was passed on already, is delayed: it may be
        merged with one that a call waits for."""
        self._scheduled = False
        if self._writes or any(self._free.values()) or any(one.done is not None for one in self._pending):
            self._wake.set()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(LINGER, lambda: self._wake.set())

    async def _transaction(self) -> None:
        pending, self._pending = self._pending, []
        batch = self._next_batch(pending)
        answers, seen = await asyncio.wrap_future(self._log.call(batch))
        for name, one in seen.items():
            if one.cooldown > max(self._clock.now(), self._cooldown(name)):
                self._cooled(name, one.cooldown)
        self._seen.update(seen)
        if answers:
            reach_fault_point("rates.reserved")
        for request, answer in zip(pending, answers, strict=True):
            if request.done is None:
                self._row_written(request.call, answer)
        again: list[_Pending] = []
        for request, answer in zip(pending, answers, strict=True):
            if request.done is None:
                continue
            if isinstance(answer, store.Refused) and len(again) < self._free[request.call.provider]:
                again.append(request)  # a place became free meanwhile, and is not given to another call yet
            else:
                request.done(answer)
        if again:
            self._pending = again + self._pending
            self._schedule()

    def _next_batch(self, pending: Sequence[_Pending]) -> Callable[[sqlite3.Connection], _BatchResult]:
        """What the writer's thread has to do for these and for all that has gathered. Calls that ended before
        their row was written are settled together with it."""
        settled, self._settled = self._settled, []
        writes, self._writes = self._writes, []
        progress, self._progress = [_moved(call) for call in self._progress], {}
        self._free.clear()
        wanted = [_wanted(call, done is None, self._unwritten.get(call)) for call, done in pending]
        self._settled_with_row = {
            call for call, done in pending if done is None and self._unwritten[call] is not None
        }
        limits = {one.provider: self._limits(one.provider) for one in wanted}
        providers = {*limits, *(one.provider for one in settled)}

        def batch(db: sqlite3.Connection) -> _BatchResult:
            now = self._clock.now()
            self._shared.update(db, progress, now)
            self._shared.settle(db, settled, now)
            for write in writes:
                write(db, now)
            answers = self._shared.reserve(db, wanted, limits, now)
            return _BatchResult(answers, {name: self._shared.provider_state(name, now) for name in providers})

        return batch

    def _cooldown(self, provider: str) -> float:
        seen = self._seen.get(provider)
        return 0.0 if seen is None else seen.cooldown

    def _row_written(self, call: Reservation, answer: store.ReservationAnswer) -> None:
        """The row of a call that began without one. The call may have ended while the row was written."""
        ended = self._unwritten.pop(call)
        assert isinstance(answer, store.Granted)
        call.add_row(answer.id)
        if call in self._settled_with_row:
            call.has_place = False
        elif ended is not None:
            call.request.counts_from, used = ended
            self.settle(call, used)


def _wanted(call: Reservation, passed_on: bool, ended: _Ended | None) -> store.ReservationRequest:
    want = call.want._replace(tokens_out=call.most)
    return store.ReservationRequest(
        call.provider, *call.attempt, want, call.estimate.more, passed_on, ended, call.forecast
    )


def _moved(call: Reservation) -> store.CallUpdate:
    request = call.request
    return store.CallUpdate(
        call.rows[-1], call.provider, *request.state, call.most, call.forecast, request.sent_at
    )

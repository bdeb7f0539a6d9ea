"""Reservations of calls, shared by all processes through the store, for several providers at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from agentdeck.store.codec import text_of
from agentdeck.store.provider_reservations import (
    CallUpdate,
    Granted,
    ProviderReservations,
    ProviderState,
    Refused,
    ReservationAnswer,
    ReservationRequest,
    SettledCall,
)
from agentdeck.workflow.model import ProviderLimits


class SharedReservations:
    """The reservations of one run's process. Invariant: in no window is more granted than the limit, for all
    processes together. Methods that take a connection run inside the writer's transaction."""

    def __init__(self, run: str, owner: str) -> None:
        self.run = run
        self.owner = owner
        self._providers: dict[str, ProviderReservations] = {}

    def reset(self) -> None:
        """Read everything again next time: a transaction was rolled back."""
        self._providers.clear()

    def reserve(
        self,
        db: sqlite3.Connection,
        requests: Sequence[ReservationRequest],
        limits: Mapping[str, ProviderLimits],
        now: float,
    ) -> list[ReservationAnswer]:
        """Reserve in this order. After a refusal, later requests for the same provider are refused too: no call
        overtakes another."""
        names = {request.provider for request in requests}
        for name in names & self._providers.keys():
            self._providers[name].fit(limits[name])
        with self._transaction(db, names, now) as providers:
            refused: dict[str, Refused] = {}
            answers: dict[int, ReservationAnswer] = {}
            for n, request in enumerate(requests):
                if request.passed_on:
                    provider = providers[request.provider]
                    answers[n] = granted = provider.insert(db, request, now)
                    if request.ended is not None:
                        provider.settle(db, SettledCall(granted.id, request.provider, *request.ended), now)
            for n, request in enumerate(requests):
                if n in answers:
                    continue
                name = request.provider
                answer = refused.get(name) or providers[name].reserve(db, request, limits[name], now)
                if isinstance(answer, Refused):
                    refused[name] = answer
                answers[n] = answer
            for name, provider in providers.items():
                granted_any = any(
                    requests[n].provider == name and isinstance(answer, Granted) for n, answer in answers.items()
                )
                provider.announce(db, limits[name], refused.get(name), granted_any, now)
            return [answers[n] for n in range(len(requests))]

    def settle(self, db: sqlite3.Connection, calls: Sequence[SettledCall], now: float) -> None:
        """Record what ended calls used."""
        with self._transaction(db, {call.provider for call in calls}, now) as providers:
            for call in calls:
                providers[call.provider].settle(db, call, now)

    def update(self, db: sqlite3.Connection, calls: Sequence[CallUpdate], now: float) -> None:
        """Record how far calls in progress are: they were sent, or their answers have begun or become longer."""
        with self._transaction(db, {call.provider for call in calls}, now) as providers:
            for call in calls:
                providers[call.provider].update(db, call)

    def provider_state(self, provider: str, now: float) -> ProviderState:
        """A provider as the last transaction with it left it."""
        return self._providers[provider].state(now)

    def cool_down(self, db: sqlite3.Connection, provider: str, until: float) -> None:
        """Record that no process calls the provider before then. The latest time holds."""
        db.execute(
            "INSERT INTO providers (provider, cooldown_until) VALUES (?, ?) ON CONFLICT (provider)"
            " DO UPDATE SET cooldown_until = max(cooldown_until, excluded.cooldown_until)",
            (provider, until),
        )

    def learn(self, db: sqlite3.Connection, provider: str, allows: Mapping[str, float]) -> None:
        """Record what the provider reports that it allows per minute, by name of the limit."""
        db.execute(
            "INSERT INTO providers (provider, learnt) VALUES (?, ?) ON CONFLICT (provider)"
            " DO UPDATE SET learnt = json_patch(learnt, excluded.learnt)",
            (provider, text_of(dict(allows))),
        )

    def release_all(self, db: sqlite3.Connection, now: float) -> None:
        """End all calls of this run, also those of earlier owners that died. What was reserved still counts."""
        for name, owner in db.execute(
            "SELECT DISTINCT provider, owner FROM reservations WHERE run = ? AND released IS NULL", (self.run,)
        ).fetchall():
            with self._transaction(db, {name}, now) as providers:
                providers[name].release(db, self.run, owner, now)

    @contextmanager
    def _transaction(
        self, db: sqlite3.Connection, names: Iterable[str], now: float
    ) -> Iterator[dict[str, ProviderReservations]]:
        """These providers, read up to date; saved afterwards. After an error everything is read again."""
        try:
            providers = {name: self._provider(name) for name in names}
            for provider in providers.values():
                provider.read(db, now)
            yield providers
            for provider in providers.values():
                provider.save(db, now)
        except BaseException:
            self.reset()
            raise

    def _provider(self, name: str) -> ProviderReservations:
        if name not in self._providers:
            self._providers[name] = ProviderReservations(name, self.run, self.owner)
        return self._providers[name]

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
from agentdeck.store.reader import Reader
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


# What is in use now, for operators ------------------------------------------------------------------------------

#: The columns of a reservation that count for a limit: for its request and prompt, and for its answer.
SENT = {"requests": "requests", "tokens": "tokens_in", "input_tokens": "tokens_in", "output_tokens": "0"}
ANSWERED = {"requests": "0", "tokens": "tokens_out", "input_tokens": "0", "output_tokens": "tokens_out"}


def in_use(reader: Reader, windows: Mapping[str, float], now: float) -> dict[str, float]:
    """The use of each limit by dotted name. `openai.requests`: used and reserved in the last `windows[name]`
    seconds; `openai.concurrent`: calls in progress."""
    found: dict[str, float] = {}
    for name, seconds in windows.items():
        provider, _, limit = name.partition(".")
        if limit == "concurrent":
            sql = "SELECT count(*) FROM reservations WHERE provider = ? AND released IS NULL"
            rows = reader.select(sql, (provider,))
        else:
            rows = reader.select(_sql(SENT[limit], ANSWERED[limit]), (provider, now - seconds, now - seconds))
        found[name] = float(rows[0][0]) if rows else 0.0
    return found


def _sql(sent: str, answered: str) -> str:
    """A call in progress counts with its expected answer, where there is an expectation."""
    likely = answered if answered == "0" else "coalesce(min(likely, tokens_out), tokens_out)"
    each = f"{sent} + CASE WHEN released IS NULL THEN {likely} ELSE {answered} END"
    return (
        f"SELECT coalesce(sum({each}), 0)"
        " FROM reservations WHERE provider = ? AND (at > ? OR released > ? OR released IS NULL)"
    )

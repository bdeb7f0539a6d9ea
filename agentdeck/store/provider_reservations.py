"""Reservations at one provider: its row in `providers`, its rows in `reservations`, which all processes share.

Every method that takes a connection runs in the writer's thread, inside its transaction, so no other process
changes the rows meanwhile. What was read stays in memory; each transaction reads only what has changed since.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from typing import NamedTuple, TypeAlias

from agentdeck.limits.fair_sharing import WaitingProcess, must_yield, waiting_since
from agentdeck.limits.output_reservation import OutputForecast
from agentdeck.limits.provider_limits import tighten
from agentdeck.limits.rate_window import NEVER, CallEntry, LimitReached, RateWindow, longest
from agentdeck.limits.reservations import COUNTED, LATEST, NOTHING, RESERVED, Amounts
from agentdeck.store.codec import text_of
from agentdeck.store.lease import held, lease_of
from agentdeck.workflow.model import ProviderLimits

#: Seconds until the next attempt where only other processes' calls are in the way: their end is not announced.
LOOK = 0.1
#: A reservation this far in the future was made by a clock that has been set back since.
AHEAD = LATEST + 1.0
#: Seconds between two checks whether the processes are alive whose calls are in the way.
ALIVE = 0.5
#: Seconds between two deletions of old rows.
PRUNE = 10.0
NO_FORECAST = (None,) * len(OutputForecast._fields)


class ReservationRequest(NamedTuple):
    """A call that is about to be made, by which attempt. `want` has the longest answer that it may get,
    `forecast` what is expected. The prompts of this call and of similar ones in progress may exceed what is
    reserved by `more`. `passed_on`: it takes the place of a call that is settled in the same transaction.
    `ended`: such a call has ended since, as in `SettledCall`."""

    provider: str
    task: str
    step: str
    attempt: int
    want: Amounts
    more: Amounts = NOTHING
    passed_on: bool = False
    ended: tuple[float, Amounts | None] | None = None
    forecast: OutputForecast | None = None


class Granted(NamedTuple):
    """The call may be made. `id` is the reservation's row."""

    id: int


class Refused(NamedTuple):
    """The limit in the way (requests, tokens, pace, concurrent, cooldown), and when to ask again."""

    reason: str
    until: float


class SettledCall(NamedTuple):
    """What an ended call used. It counts from `at`; `want` None leaves what was reserved. `sent` is when its
    request was sent at the latest; None: when it counts."""

    id: int
    provider: str
    at: float
    want: Amounts | None
    sent: float | None = None


class CallUpdate(NamedTuple):
    """The stage of a call in progress, from when it counts, the longest answer it may get, the expected one, and
    when its request was sent."""

    id: int
    provider: str
    stage: int
    at: float
    tokens_out: int
    forecast: OutputForecast | None
    sent: float | None = None


ReservationAnswer: TypeAlias = Granted | Refused


class ProviderState(NamedTuple):
    """A provider after a transaction: calls in progress in all processes, whether it has reported limits of its
    own, until when it is not called, whether the next free place is another process's."""

    live: int
    learnt: bool
    cooldown: float
    owed: bool


class ProviderReservations:
    """What this process has read of one provider, up to a revision: each change of a row gets the next number."""

    def __init__(self, provider: str, run: str, owner: str) -> None:
        self.provider, self.run, self.owner = provider, run, owner
        self._forget()

    def _forget(self) -> None:
        self._rev = 0
        self._longest = 0.0  # seconds of the longest window that any process counts
        self._cooldown = 0.0
        self._learnt: dict[str, float] = {}
        self._waiting: dict[str, WaitingProcess] = {}
        self._window = RateWindow()
        self._owners: dict[int, tuple[str, str]] = {}  # run and process of each call in progress
        self._pruned = 0.0
        self._checked = -NEVER

    def _live(self) -> Counter[str]:
        """How many calls each process has in progress."""
        return Counter(owner for _, owner in self._owners.values())

    def state(self, now: float) -> ProviderState:
        """As the last transaction left it; `owed` as if one more call of this run had ended."""
        live = self._live()
        live[self.owner] -= 1
        left = must_yield(self._waiting, live, self.owner, now)
        return ProviderState(len(self._window.live), bool(self._learnt), self._cooldown, left)

    # Reading ------------------------------------------------------------------------------------------------

    def fit(self, limits: ProviderLimits) -> None:
        """Read everything again where these limits have a longer window than any before: older rows count too."""
        if self._window.longest < longest(limits):
            self._forget()

    def read(self, db: sqlite3.Connection, now: float) -> None:
        """Read what any process has changed since the last time."""
        row = db.execute(
            "SELECT rev, longest, cooldown_until, learnt, waiting, pruned FROM providers WHERE provider = ?",
            (self.provider,),
        ).fetchone()
        if row is None:
            db.execute("INSERT INTO providers (provider) VALUES (?)", (self.provider,))
            row = (0, 0.0, 0.0, "{}", "{}", 0)
        rev, longest_counted, cooldown, learnt, waiting, pruned = row
        if self._rev > rev or self._rev < pruned:  # what was read was rolled back, or unread rows were deleted
            self._forget()
        self._longest, self._cooldown = longest_counted, cooldown
        if learnt != "{}":
            self._learnt = json.loads(learnt)
        processes = {} if waiting == "{}" else json.loads(waiting)
        self._waiting = {owner: WaitingProcess(*one) for owner, one in processes.items()}
        self._read_rows(db, rev, now)

    def _read_rows(self, db: sqlite3.Connection, rev: int, now: float) -> None:
        if self._rev >= rev:
            return
        for number, run, owner, at, sent, stage, released, *amounts in db.execute(
            "SELECT id, run, owner, at, sent, stage, released, requests, tokens_in, tokens_out, said, said_at,"
            " likely, spread, pace FROM reservations WHERE provider = ? AND rev > ?",
            (self.provider, self._rev),
        ):
            at = now if at > now + AHEAD else at
            sent = None if sent is None else min(sent, now)
            forecast = None if amounts[3] is None else OutputForecast(*amounts[3:])
            self._window.put(number, CallEntry(at, Amounts(*amounts[:3]), stage, released, forecast, sent))
            if released is None:
                self._owners[number] = run, owner
            else:
                self._owners.pop(number, None)
        self._rev = rev

    # Reserving ----------------------------------------------------------------------------------------------

    def reserve(
        self, db: sqlite3.Connection, request: ReservationRequest, limits: ProviderLimits, now: float
    ) -> ReservationAnswer:
        """Reserve a call, unless a limit or another process's share is in the way."""
        return self._refusal(db, request, limits, now) or self.insert(db, request, now)

    def insert(self, db: sqlite3.Connection, request: ReservationRequest, now: float) -> Granted:
        """Reserve a call, whatever is in the way."""
        self._rev += 1
        cursor = db.execute(
            "INSERT INTO reservations (provider, rev, run, owner, task, step, attempt, at, stage, requests,"
            " tokens_in, tokens_out, said, said_at, likely, spread, pace)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(self.provider, self._rev, self.run, self.owner),
                *(request.task, request.step, request.attempt, now, RESERVED),
                *request.want,
                *(request.forecast or NO_FORECAST),
            ),
        )
        number = int(cursor.lastrowid or 0)
        self._window.put(number, CallEntry(now, request.want, RESERVED, None, request.forecast))
        self._owners[number] = self.run, self.owner
        return Granted(number)

    def _refusal(
        self, db: sqlite3.Connection, request: ReservationRequest, limits: ProviderLimits, now: float
    ) -> Refused | None:
        if now < self._cooldown:
            return Refused("cooldown", self._cooldown)
        limits = tighten(limits, self._learnt)
        full = self._window.full(request.want, limits, now, request.more, request.forecast)
        if full is not None and self._should_check_owners(full, now) and self._release_dead(db, now):
            full = self._window.full(request.want, limits, now, request.more, request.forecast)
        if full is not None:
            unknown = full.until == NEVER and full.reason == "concurrent"
            return Refused(full.reason, now + LOOK if unknown else full.until)
        others_wait = self._waiting and isinstance(limits.concurrent, int)
        if others_wait and must_yield(self._waiting, self._live(), self.owner, now):
            return Refused("concurrent", now + LOOK)
        return None

    def announce(
        self, db: sqlite3.Connection, limits: ProviderLimits, refused: Refused | None, granted: bool, now: float
    ) -> None:
        """Record for the other processes whether this one waits for a place. `granted`: it just got some."""
        before = self._waiting.pop(self.owner, None)
        if refused is not None and refused.reason == "concurrent" and isinstance(limits.concurrent, int):
            self._waiting[self.owner] = waiting_since(before, limits.concurrent, granted, now)
        elif before is None:
            return
        waiting = {owner: list(one) for owner, one in self._waiting.items() if now < one.until}
        db.execute("UPDATE providers SET waiting = ? WHERE provider = ?", (text_of(waiting), self.provider))

    # Calls in progress --------------------------------------------------------------------------------------

    def update(self, db: sqlite3.Connection, call: CallUpdate) -> None:
        """Record how far a call in progress is."""
        self._rev += 1
        row = db.execute(
            "UPDATE reservations SET rev = ?, stage = ?, at = ?, sent = ?, tokens_out = ?, said = ?, said_at = ?,"
            " likely = ?, spread = ?, pace = ? WHERE id = ? AND provider = ? AND owner = ? AND released IS NULL"
            " RETURNING requests, tokens_in",
            (
                *(self._rev, call.stage, call.at, call.sent, call.tokens_out),
                *(call.forecast or NO_FORECAST),
                *(call.id, self.provider, self.owner),
            ),
        ).fetchone()
        if row is not None:
            want = Amounts(row[0], row[1], call.tokens_out)
            self._window.put(call.id, CallEntry(call.at, want, call.stage, None, call.forecast, call.sent))

    def settle(self, db: sqlite3.Connection, call: SettledCall, now: float) -> None:
        """Record what an ended call used. Its answer counts from now, the rest from when it was counted."""
        self._rev += 1
        used = call.want or (None, None, None)
        row = db.execute(
            "UPDATE reservations SET rev = ?, released = ?, settled = ?, at = ?, sent = ?, stage = ?,"
            " requests = coalesce(?, requests), tokens_in = coalesce(?, tokens_in),"
            " tokens_out = coalesce(?, tokens_out) WHERE id = ? AND provider = ? AND owner = ?"
            " RETURNING requests, tokens_in, tokens_out",
            (
                *(self._rev, now, call.want is not None, call.at, call.sent, COUNTED),
                *used,
                *(call.id, self.provider, self.owner),
            ),
        ).fetchone()
        if row is not None:
            self._window.put(call.id, CallEntry(call.at, Amounts(*row), ended=now, sent=call.sent))
            self._owners.pop(call.id, None)

    def release(self, db: sqlite3.Connection, run: str, owner: str, now: float) -> None:
        """End all calls of a process. Those not recorded as sent may have been, up to now: bytes that a process
        has written reach the server even if it is dead."""
        rev = self._rev + 1
        db.execute(
            "UPDATE reservations SET released = ?, rev = ?, at = CASE stage WHEN ? THEN ? ELSE at END, stage = ?,"
            " sent = coalesce(sent, ?) WHERE provider = ? AND run = ? AND owner = ? AND released IS NULL",
            (now, rev, RESERVED, now + LATEST, COUNTED, now, self.provider, run, owner),
        )
        self._read_rows(db, rev, now)

    def _should_check_owners(self, full: LimitReached, now: float) -> bool:
        """Whether it is time to check that the processes with calls in progress are alive."""
        if not self._window.live or (full.reason != "concurrent" and now < self._checked + ALIVE):
            return False
        self._checked = now
        return True

    def _release_dead(self, db: sqlite3.Connection, now: float) -> bool:
        """End the calls of processes that no longer hold their run. Returns whether there were any."""
        found = False
        for run, owner in set(self._owners.values()) - {(self.run, self.owner)}:
            lease = lease_of(db, run)
            if lease is None or lease.owner != owner or not held(lease, now):
                self.release(db, run, owner, now)
                found = True
        return found

    # Writing ------------------------------------------------------------------------------------------------

    def save(self, db: sqlite3.Connection, now: float) -> None:
        """Record the revision that this transaction has reached. Deletes old rows now and then."""
        self._longest = max(self._longest, self._window.longest)
        if now > self._pruned + PRUNE:
            self._pruned = now
            self._release_dead(db, now)
            gone = db.execute(
                "DELETE FROM reservations WHERE provider = ? AND at < ? AND released < ? RETURNING rev",
                (self.provider, *[now - self._longest - PRUNE] * 2),
            ).fetchall()
            if gone:
                sql = "UPDATE providers SET pruned = max(pruned, ?) WHERE provider = ?"
                db.execute(sql, (max(gone)[0], self.provider))
        db.execute(
            "UPDATE providers SET rev = ?, longest = max(longest, ?) WHERE provider = ?",
            (self._rev, self._window.longest, self.provider),
        )

"""Calls to providers, reserved in the store: `providers` and `reservations`, shared by all processes.

All of it runs in the writer's thread and transaction, which no other process can be in at the same time. What
this process has read before it keeps, and reads only what has changed since.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from agentdeck.limits.fair_sharing import WaitingProcess, owed, waits
from agentdeck.limits.output_reservation import OutputForecast
from agentdeck.limits.provider_limits import tighten
from agentdeck.limits.rate_window import NEVER, CallEntry, LimitReached, RateWindow, longest
from agentdeck.limits.reservations import COUNTED, LATEST, NOTHING, RESERVED, Amounts
from agentdeck.store.codec import text_of
from agentdeck.store.lease import held, lease_of
from agentdeck.workflow.model import ProviderLimits

#: Other processes' calls end without telling: look again after so many seconds.
LOOK = 0.1
#: A reservation this far in the future was made by a clock that has been set back since.
AHEAD = LATEST + 1.0
#: Seconds between two looks whether a process that has calls in the way is still alive.
ALIVE = 0.5
#: Seconds between two times that old rows are deleted.
PRUNE = 10.0


class Wanted(NamedTuple):
    """A call that is about to be made, by which attempt. Its prompt may come to so much `more` than is reserved,
    and so may others like it that are under way. `want` has the longest answer that it may get, `forecast` what
    is expected. `passed_on`: it has the place of a call that is settled in the same transaction; `ended`: and has
    ended since, as in `Settled`."""

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
    """It may go. `id` is for settling it."""

    id: int


class Refused(NamedTuple):
    """Not now: why (requests, tokens, concurrent, cooldown), and when it is worth asking again."""

    reason: str
    until: float


class Settled(NamedTuple):
    """What a call came to. It counts from `at`; `want` None leaves what was reserved."""

    id: int
    provider: str
    at: float
    want: Amounts | None


class Moved(NamedTuple):
    """How far a call under way is: its stage, from when it counts, the longest answer it may get, and what is
    expected of that."""

    id: int
    provider: str
    stage: int
    at: float
    tokens_out: int
    forecast: OutputForecast | None


Answer: TypeAlias = Granted | Refused
NO_FORECAST = (None,) * len(OutputForecast._fields)


class Seen(NamedTuple):
    """A provider as the last transaction left it: how many calls are under way, whosever; whether it says itself
    what it allows; until when it is to be left alone; whether the next place is another process's."""

    live: int
    learnt: bool
    cooldown: float
    owed: bool


class _Known:
    """A provider as far as this process has read it."""

    __slots__ = ("checked", "cooldown", "learnt", "longest", "owners", "pruned", "rev", "waiting", "window")

    def __init__(self) -> None:
        self.rev = 0
        self.longest = 0.0
        self.cooldown = 0.0
        self.learnt: dict[str, float] = {}
        self.waiting: dict[str, WaitingProcess] = {}
        self.window = RateWindow()
        self.owners: dict[int, tuple[str, str]] = {}
        self.pruned = 0.0
        self.checked = -NEVER

    def live(self) -> Counter[str]:
        """How many calls each process has under way."""
        return Counter(owner for _, owner in self.owners.values())


class Book:
    """The reservations of one run's process. Invariant: in no window of a limit's length is more granted than
    the limit, whoever asks, from however many processes."""

    def __init__(self, run: str, owner: str) -> None:
        self.run = run
        self.owner = owner
        self._known: dict[str, _Known] = {}

    def reset(self) -> None:
        """Forget what was read: a transaction of it did not come to be."""
        self._known.clear()

    def reserve(
        self, db: sqlite3.Connection, wanted: Sequence[Wanted], limits: Mapping[str, ProviderLimits], now: float
    ) -> list[Answer]:
        """Reserve in this order. Once one is refused, so are those after it at the same provider: nobody
        overtakes."""
        try:
            for provider in {one.provider for one in wanted}:
                self._reach(provider, limits[provider])
                self._read(db, provider, now)
            shut: dict[str, Refused] = {}
            answers: dict[int, Answer] = {}
            for n, one in enumerate(wanted):
                if one.passed_on:
                    answers[n] = given = self._insert(db, one, now)
                    if one.ended is not None:
                        self._settle(db, Settled(given.id, one.provider, *one.ended), now)
            for n, one in enumerate(wanted):
                if one.passed_on:
                    continue
                refused = shut.get(one.provider) or self._in_the_way(db, one, limits[one.provider], now)
                if refused is not None:
                    shut[one.provider] = refused
                answers[n] = refused or self._insert(db, one, now)
            for provider in {one.provider for one in wanted}:
                got = any(
                    wanted[n].provider == provider and isinstance(answer, Granted)
                    for n, answer in answers.items()
                )
                self._wait(db, provider, limits[provider], shut.get(provider), got, now)
                self._save(db, provider, now)
            return [answers[n] for n in range(len(wanted))]
        except BaseException:
            self.reset()
            raise

    def settle(self, db: sqlite3.Connection, settled: Sequence[Settled], now: float) -> None:
        """These calls have ended. What they said counts from now, the rest from when they were counted."""
        try:
            for provider in {one.provider for one in settled}:
                self._read(db, provider, now)
            for one in settled:
                self._settle(db, one, now)
            for provider in {one.provider for one in settled}:
                self._save(db, provider, now)
        except BaseException:
            self.reset()
            raise

    def seen(self, provider: str, now: float) -> Seen:
        """After a turn with it, and for when one more of this run's calls has ended."""
        known = self._known[provider]
        live = known.live()
        live[self.owner] -= 1
        left = owed(known.waiting, live, self.owner, now)
        return Seen(len(known.window.live), bool(known.learnt), known.cooldown, left)

    def move(self, db: sqlite3.Connection, moved: Sequence[Moved], now: float) -> None:
        """These calls have been sent, or their answers have begun or become longer."""
        try:
            for provider in {one.provider for one in moved}:
                self._read(db, provider, now)
            for one in moved:
                self._move(db, one)
            for provider in {one.provider for one in moved}:
                self._save(db, provider, now)
        except BaseException:
            self.reset()
            raise

    def cool_down(self, db: sqlite3.Connection, provider: str, until: float) -> None:
        """Nobody calls it before then. The latest word holds."""
        db.execute(
            "INSERT INTO providers (provider, cooldown_until) VALUES (?, ?) ON CONFLICT (provider)"
            " DO UPDATE SET cooldown_until = max(cooldown_until, excluded.cooldown_until)",
            (provider, until),
        )

    def learn(self, db: sqlite3.Connection, provider: str, allows: Mapping[str, float]) -> None:
        """What the provider says that it allows per minute, by name of the limit."""
        db.execute(
            "INSERT INTO providers (provider, learnt) VALUES (?, ?) ON CONFLICT (provider)"
            " DO UPDATE SET learnt = json_patch(learnt, excluded.learnt)",
            (provider, text_of(dict(allows))),
        )

    def release_all(self, db: sqlite3.Connection, now: float) -> None:
        """Nothing of this run is under way any more, nor of those who had it before and died. What was reserved
        still counts."""
        for provider, owner in db.execute(
            "SELECT DISTINCT provider, owner FROM reservations WHERE run = ? AND released IS NULL", (self.run,)
        ).fetchall():
            self._read(db, provider, now)
            self._free(db, provider, self.run, owner, now)
            self._save(db, provider, now)

    # Inside the transaction ---------------------------------------------------------------------------------

    def _settle(self, db: sqlite3.Connection, one: Settled, now: float) -> None:
        known = self._known[one.provider]
        known.rev += 1
        used = one.want or (None, None, None)
        row = db.execute(
            "UPDATE reservations SET rev = ?, released = ?, settled = ?, at = ?, stage = ?,"
            " requests = coalesce(?, requests), tokens_in = coalesce(?, tokens_in),"
            " tokens_out = coalesce(?, tokens_out) WHERE id = ? AND provider = ? AND owner = ?"
            " RETURNING requests, tokens_in, tokens_out",
            (known.rev, now, one.want is not None, one.at, COUNTED, *used, one.id, one.provider, self.owner),
        ).fetchone()
        if row is not None:
            known.window.put(one.id, CallEntry(one.at, Amounts(*row), ended=now))
            known.owners.pop(one.id, None)

    def _move(self, db: sqlite3.Connection, one: Moved) -> None:
        known = self._known[one.provider]
        known.rev += 1
        row = db.execute(
            "UPDATE reservations SET rev = ?, stage = ?, at = ?, tokens_out = ?, said = ?, said_at = ?,"
            " likely = ?, spread = ?, pace = ? WHERE id = ? AND provider = ? AND owner = ? AND released IS NULL"
            " RETURNING requests, tokens_in",
            (
                *(known.rev, one.stage, one.at, one.tokens_out),
                *(one.forecast or NO_FORECAST),
                *(one.id, one.provider, self.owner),
            ),
        ).fetchone()
        if row is not None:
            want = Amounts(row[0], row[1], one.tokens_out)
            known.window.put(one.id, CallEntry(one.at, want, one.stage, None, one.forecast))

    def _in_the_way(
        self, db: sqlite3.Connection, one: Wanted, limits: ProviderLimits, now: float
    ) -> Refused | None:
        known = self._known[one.provider]
        if now < known.cooldown:
            return Refused("cooldown", known.cooldown)
        limits = tighten(limits, known.learnt)
        full = known.window.full(one.want, limits, now, one.more, one.forecast)
        if full is not None and self._hindered(full, known, now) and self._bury(db, one.provider, now):
            full = known.window.full(one.want, limits, now, one.more, one.forecast)
        if full is not None:
            return Refused(full.reason, _again(full, now))
        left = known.waiting and isinstance(limits.concurrent, int)
        if left and owed(known.waiting, known.live(), self.owner, now):
            return Refused("concurrent", now + LOOK)
        return None

    def _hindered(self, full: LimitReached, known: _Known, now: float) -> bool:
        """Whether it is time to look if other processes that have calls under way are still alive."""
        if not known.window.live or (full.reason != "concurrent" and now < known.checked + ALIVE):
            return False
        known.checked = now
        return True

    def _wait(
        self,
        db: sqlite3.Connection,
        provider: str,
        limits: ProviderLimits,
        refused: Refused | None,
        got: bool,
        now: float,
    ) -> None:
        """Tell the others whether this process waits for a place; it may have `got` some that it asked for."""
        waiting = self._known[provider].waiting
        before = waiting.pop(self.owner, None)
        if refused is not None and refused.reason == "concurrent" and isinstance(limits.concurrent, int):
            waiting[self.owner] = waits(before, limits.concurrent, got, now)
        elif before is None:
            return
        told = {who: list(one) for who, one in waiting.items() if now < one.until}
        db.execute("UPDATE providers SET waiting = ? WHERE provider = ?", (text_of(told), provider))

    def _reach(self, provider: str, limits: ProviderLimits) -> None:
        """For a window longer than any before, what was forgotten is read again."""
        known = self._known.get(provider)
        if known is not None and known.window.longest < longest(limits):
            del self._known[provider]

    def _insert(self, db: sqlite3.Connection, one: Wanted, now: float) -> Granted:
        known = self._known[one.provider]
        known.rev += 1
        cursor = db.execute(
            "INSERT INTO reservations (provider, rev, run, owner, task, step, attempt, at, stage, requests,"
            " tokens_in, tokens_out, said, said_at, likely, spread, pace)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(one.provider, known.rev, self.run, self.owner, one.task, one.step, one.attempt, now, RESERVED),
                *one.want,
                *(one.forecast or NO_FORECAST),
            ),
        )
        number = int(cursor.lastrowid or 0)
        known.window.put(number, CallEntry(now, one.want, RESERVED, None, one.forecast))
        known.owners[number] = self.run, self.owner
        return Granted(number)

    def _read(self, db: sqlite3.Connection, provider: str, now: float) -> None:
        """What has changed since it was last looked at, by whomever."""
        known = self._known.setdefault(provider, _Known())
        row = db.execute(
            "SELECT rev, longest, cooldown_until, learnt, waiting, pruned FROM providers WHERE provider = ?",
            (provider,),
        ).fetchone()
        if row is None:
            db.execute("INSERT INTO providers (provider) VALUES (?)", (provider,))
            row = (0, 0.0, 0.0, "{}", "{}", 0)
        if known.rev > row[0] or known.rev < row[5]:  # what was read was rolled back, or what was not is gone
            known = self._known[provider] = _Known()
        known.longest, known.cooldown = row[1], row[2]
        if row[3] != "{}":
            known.learnt = json.loads(row[3])
        told = {} if row[4] == "{}" else json.loads(row[4])
        known.waiting = {who: WaitingProcess(*one) for who, one in told.items()}
        self._follow(db, provider, known, row[0], now)

    def _follow(self, db: sqlite3.Connection, provider: str, known: _Known, rev: int, now: float) -> None:
        if known.rev < rev:
            for number, run, owner, at, stage, released, *of in db.execute(
                "SELECT id, run, owner, at, stage, released, requests, tokens_in, tokens_out, said, said_at,"
                " likely, spread, pace FROM reservations WHERE provider = ? AND rev > ?",
                (provider, known.rev),
            ):
                at = now if at > now + AHEAD else at
                forecast = None if of[3] is None else OutputForecast(*of[3:])
                known.window.put(number, CallEntry(at, Amounts(*of[:3]), stage, released, forecast))
                if released is None:
                    known.owners[number] = run, owner
                else:
                    known.owners.pop(number, None)
            known.rev = rev

    def _bury(self, db: sqlite3.Connection, provider: str, now: float) -> bool:
        """Free what processes hold that are no more: their runs belong to others, or their leases ran out."""
        known, found = self._known[provider], False
        for run, owner in set(known.owners.values()) - {(self.run, self.owner)}:
            lease = lease_of(db, run)
            if lease is None or lease.owner != owner or not held(lease, now):
                self._free(db, provider, run, owner, now)
                found = True
        return found

    def _free(self, db: sqlite3.Connection, provider: str, run: str, owner: str, now: float) -> None:
        """End what this process has under way. What was not noted as sent may have been, up to now: bytes that it
        has written reach the server even if it is dead."""
        known = self._known[provider]
        rev = known.rev + 1
        db.execute(
            "UPDATE reservations SET released = ?, rev = ?, at = CASE stage WHEN ? THEN ? ELSE at END, stage = ?"
            " WHERE provider = ? AND run = ? AND owner = ? AND released IS NULL",
            (now, rev, RESERVED, now + LATEST, COUNTED, provider, run, owner),
        )
        self._follow(db, provider, known, rev, now)

    def _save(self, db: sqlite3.Connection, provider: str, now: float) -> None:
        known = self._known[provider]
        known.longest = max(known.longest, known.window.longest)
        if now > known.pruned + PRUNE:
            known.pruned = now
            self._bury(db, provider, now)
            gone = db.execute(
                "DELETE FROM reservations WHERE provider = ? AND at < ? AND released < ? RETURNING rev",
                (provider, *[now - known.longest - PRUNE] * 2),
            ).fetchall()
            if gone:
                sql = "UPDATE providers SET pruned = max(pruned, ?) WHERE provider = ?"
                db.execute(sql, (max(gone)[0], provider))
        db.execute(
            "UPDATE providers SET rev = ?, longest = max(longest, ?) WHERE provider = ?",
            (known.rev, known.window.longest, provider),
        )


def _again(full: LimitReached, now: float) -> float:
    return now + LOOK if full.until == NEVER and full.reason == "concurrent" else full.until

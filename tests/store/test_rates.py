"""Reservations in the store: shared, exact, and alive after whoever made them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
import time
from itertools import pairwise
from pathlib import Path

import pytest

from agentdeck.limits.fair_sharing import AGAIN, SLICE
from agentdeck.limits.reservations import COUNTED, LATEST, Amounts
from agentdeck.store.lease import BOUND, OBSERVED
from agentdeck.store.log import MemoryLog
from agentdeck.store.provider_reservations import (
    PRUNE,
    CallUpdate,
    Granted,
    Refused,
    ReservationRequest,
    SettledCall,
)
from agentdeck.store.reader import Reader
from agentdeck.store.reservations import SharedReservations, in_use
from agentdeck.store.runs import Owner, create_run, release_lease, take_lease
from agentdeck.store.schema import open_for_writing
from agentdeck.store.writer import Writer
from agentdeck.workflow.model import ProviderLimits, Rate
from tests.store.samples import new_run

TEN = {"p": ProviderLimits(requests=Rate(10, 60.0), tokens=Rate(1000, 60.0))}


def wanted(number: int = 1, tokens: int = 0) -> list[ReservationRequest]:
    return [ReservationRequest("p", "1", f"s{n}", 1, Amounts(1, tokens, 0)) for n in range(number)]


@pytest.fixture
def db(tmp_path: Path) -> sqlite3.Connection:
    connection = open_for_writing(tmp_path / "a.db")
    connection.execute("PRAGMA synchronous = OFF")  # thousands of commits, and no crash
    return connection


@pytest.fixture(autouse=True)
def unseen_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests have leases of the same name. None renews them, and a busy machine may take longer for a test than a
    lease is valid without."""
    OBSERVED._seen.clear()
    monkeypatch.setattr(OBSERVED, "_clock", lambda: 0.0)


def granted(answers: list[Granted | Refused]) -> list[int]:
    return [answer.id for answer in answers if isinstance(answer, Granted)]


def answered(
    book: SharedReservations, db: sqlite3.Connection, ids: list[int], at: float, tokens_out: int = 0
) -> None:
    """The answers to these calls have begun."""
    book.update(db, [CallUpdate(number, "p", COUNTED, at, tokens_out, None) for number in ids], at)


def test_an_operator_sees_what_is_in_use(db: sqlite3.Connection, tmp_path: Path) -> None:
    windows = {
        f"p.{limit}": 60.0 for limit in ("requests", "tokens", "input_tokens", "output_tokens", "concurrent")
    }
    reader, book = Reader(tmp_path / "a.db"), SharedReservations("r", "o")
    assert set(in_use(reader, windows, 100.0).values()) == {0.0}
    requests = [request._replace(want=Amounts(1, 30, 20)) for request in wanted(2)]
    first, second = granted(book.reserve(db, requests, TEN, 100.0))
    answered(book, db, [first, second], 100.0, tokens_out=20)
    book.settle(db, [SettledCall(first, "p", 110.0, Amounts(1, 30, 5))], 110.0)
    assert list(in_use(reader, windows, 120.0).values()) == [2, 85, 60, 25, 1]
    book.release_all(db, 120.0)
    assert in_use(reader, {"p.requests": 60.0, "p.concurrent": 60.0}, 200.0) == {
        "p.requests": 0,
        "p.concurrent": 0,
    }
    reader.close()


def test_two_processes_share_one_limit(db: sqlite3.Connection) -> None:
    one, other = SharedReservations("r1", "o1"), SharedReservations("r2", "o2")
    first = granted(one.reserve(db, wanted(6), TEN, 100.0))
    assert len(first) == 6
    answered(one, db, first, 100.0)
    answers = other.reserve(db, wanted(6), TEN, 110.0)
    assert len(granted(answers)) == 4
    answered(other, db, granted(answers), 110.0)
    answers += other.reserve(db, wanted(2), TEN, 110.0)
    assert answers[6:] == [Refused("requests", 160.6)] * 2
    assert granted(one.reserve(db, wanted(1), TEN, 160.5)) == []
    assert len(granted(one.reserve(db, wanted(9), TEN, 160.6))) == 6


def test_two_processes_space_their_calls_out_together(db: sqlite3.Connection) -> None:
    spaced = {"p": ProviderLimits(requests=Rate(60, 60.0, 2))}
    books, sent, now = alive(db, "o1", "o2"), list[tuple[float, int]](), 100.0
    while now < 120.0:
        untils = list[float]()
        for n, book in enumerate(books):
            answers = book.reserve(db, wanted(3), spaced, now)
            for number in granted(answers):
                at = now + 0.02  # the request is on its way a moment later
                book.update(db, [CallUpdate(number, "p", COUNTED, at + 0.5, 0, None, at)], at)
                sent.append((at, n))
            untils += [answer.until for answer in answers if isinstance(answer, Refused)]
        assert all(until > now for until in untils)
        now = min(untils)
    times = [at for at, _ in sent]
    assert len(times) == 2 + 19
    assert times[1] == times[0], "the burst"
    assert min(after - before for before, after in pairwise(times[1:])) >= 1.0


def test_another_process_reads_when_calls_were_sent(db: sqlite3.Connection) -> None:
    spaced = {"p": ProviderLimits(requests=Rate(60, 60.0, 1))}
    one, other = alive(db, "o1", "o2")
    (first,) = granted(one.reserve(db, wanted(1), spaced, 100.0))
    assert granted(other.reserve(db, wanted(1), spaced, 100.5)) == []
    one.update(db, [CallUpdate(first, "p", COUNTED, 104.0, 0, None, 100.2)], 104.0)
    (second,) = granted(other.reserve(db, wanted(1), spaced, 104.0))
    other.settle(db, [SettledCall(second, "p", 104.4, Amounts(1, 0, 0), 104.1)], 104.5)
    for book in (one, SharedReservations("r3", "o3")):
        (refused,) = book.reserve(db, wanted(1), spaced, 104.6)
        assert isinstance(refused, Refused)
        assert (refused.reason, round(refused.until, 6)) == ("pace", 105.11)


FOUR = {"p": ProviderLimits(concurrent=4)}


def alive(db: sqlite3.Connection, *owners: str) -> list[SharedReservations]:
    """Runs of live processes."""
    for owner in owners:
        create_run(db, new_run(f"run of {owner}"), Owner(owner, 2, "elsewhere"), 1000.0)
    return [SharedReservations(f"run of {owner}", owner) for owner in owners]


def test_a_process_that_waits_for_a_place_gets_its_share(db: sqlite3.Connection) -> None:
    """The one that has all asks again in the same turn in which a call of its own has ended."""
    one, other = alive(db, "o1", "o2")
    held, mine = granted(one.reserve(db, wanted(4), FOUR, 100.0)), list[int]()
    shares = set[tuple[int, int]]()
    for turn in range(100):  # ten seconds
        now = 100.0 + turn / 10
        mine += granted(other.reserve(db, wanted(4 - len(mine)), FOUR, now))
        one.settle(db, [SettledCall(held.pop(0), "p", now, Amounts(1, 0, 0))], now)
        held += granted(one.reserve(db, wanted(4 - len(held)), FOUR, now))
        shares.add((len(held), len(mine)))
        assert len(held) + len(mine) <= 4
        if turn < 10:
            assert not mine, "for a second nobody gives up anything"
    assert (len(held), len(mine)) == (2, 2), "they share"
    assert min(shares)[0] == 2, "and nobody gives up more than that"


def test_fewer_places_than_processes_go_round_in_slices(db: sqlite3.Connection) -> None:
    """Each has more to do than it gets, and would keep the only place for ever."""
    books, limits = alive(db, "o1", "o2"), {"p": ProviderLimits(concurrent=1)}
    got, held = [0, 0], [list[int](), list[int]()]
    for turn in range(400):
        now = 100.0 + turn / 20
        for n, book in enumerate(books):
            book.settle(db, [SettledCall(one, "p", now, Amounts(1, 0, 0)) for one in held[n]], now)
            held[n] = granted(book.reserve(db, wanted(3), limits, now))
            got[n] += len(held[n])
        assert len(held[0]) + len(held[1]) <= 1
    assert min(got) > 150, got
    assert sum(got) > 350, "little is lost"


def test_what_was_deleted_before_it_was_read_is_not_taken_for_live(db: sqlite3.Connection) -> None:
    one, other = alive(db, "o1", "o2")
    held = granted(one.reserve(db, wanted(2), FOUR, 100.0))
    mine = granted(other.reserve(db, wanted(2), FOUR, 100.0))
    one.settle(db, [SettledCall(n, "p", 100.0, Amounts(1, 0, 0)) for n in held], 101.0)
    for at in range(102, 140):  # the other is busy with its two calls
        (number,) = granted(one.reserve(db, wanted(1), FOUR, float(at)))
        one.settle(db, [SettledCall(number, "p", float(at), Amounts(1, 0, 0))], at + 0.5)
    other.settle(db, [SettledCall(n, "p", 100.0, Amounts(1, 0, 0)) for n in mine], 141.0)
    assert len(granted(other.reserve(db, wanted(4), FOUR, 141.0))) == 4


def test_a_place_is_left_to_nobody_who_has_gone_or_could_not_take_it(db: sqlite3.Connection) -> None:
    one, gone, small = alive(db, "o1", "o2", "o3")
    held = granted(one.reserve(db, wanted(4), FOUR, 100.0))
    gone.reserve(db, wanted(1), FOUR, 100.0)
    small.reserve(db, wanted(1), {"p": ProviderLimits(concurrent=2)}, 100.5)
    gone.reserve(db, wanted(1), FOUR, 100.0 + 1.1 * SLICE - AGAIN)
    now = 100.0 + 1.1 * SLICE
    one.settle(db, [SettledCall(held[0], "p", 100.0, Amounts(1, 0, 0))], now)
    assert not one.provider_state("p", now).owed
    assert len(granted(one.reserve(db, wanted(1), FOUR, now))) == 1


def test_a_place_that_is_passed_on_is_not_asked_for(db: sqlite3.Connection) -> None:
    one, other = alive(db, "o1", "o2")
    held = granted(one.reserve(db, wanted(4), FOUR, 100.0))
    for at in (100.0, 100.4, 100.8, 101.2):
        other.reserve(db, wanted(1), FOUR, at)
    one.settle(db, [SettledCall(held[0], "p", 100.0, Amounts(1, 0, 0))], 101.3)
    assert one.provider_state("p", 101.3).owed
    new, passed_on = wanted(2)
    answers = one.reserve(db, [new, passed_on._replace(passed_on=True)], FOUR, 101.3)
    assert isinstance(answers[1], Granted)
    assert isinstance(answers[0], Refused), "there is no room beside it"
    assert one.provider_state("p", 101.3).live == 4


def test_an_answer_that_becomes_longer_takes_its_room_as_it_goes(db: sqlite3.Connection) -> None:
    book, other = SharedReservations("r", "o"), SharedReservations("x", "y")
    (number,) = granted(book.reserve(db, wanted(1, 100), TEN, 0.0))
    answered(book, db, [number], 1.0, 800)
    assert granted(other.reserve(db, wanted(1, 200), TEN, 2.0)) == []
    book.settle(db, [SettledCall(number, "p", 0.0, Amounts(1, 100, 650))], 3.0)
    answered(book, db, [number], 3.0, 5000)  # it has ended
    assert len(granted(other.reserve(db, wanted(1, 200), TEN, 4.0))) == 1


def test_nobody_overtakes_within_one_turn(db: sqlite3.Connection) -> None:
    book = SharedReservations("r", "o")
    big = ReservationRequest("p", "1", "big", 1, Amounts(1, 800, 0))
    (number,) = granted(book.reserve(db, wanted(1, 500), TEN, 0.0))
    book.settle(db, [SettledCall(number, "p", 0.0, None)], 0.5)
    answers = book.reserve(db, [big, *wanted(2, 1)], TEN, 1.0)
    assert answers == [Refused("tokens", 60.6)] * 3


def test_what_was_used_counts_from_when_it_was_sent_and_the_rest_is_free(db: sqlite3.Connection) -> None:
    book, other = SharedReservations("r", "o"), SharedReservations("x", "y")
    (number,) = granted(book.reserve(db, wanted(1, 900), TEN, 0.0))
    assert granted(other.reserve(db, wanted(1, 500), TEN, 1.0)) == []
    book.settle(db, [SettledCall(number, "p", 2.0, Amounts(1, 300, 100))], 5.0)
    assert len(granted(other.reserve(db, wanted(1, 500), TEN, 6.0))) == 1
    assert granted(other.reserve(db, wanted(1, 300), TEN, 62.5)) == []
    (number,) = granted(book.reserve(db, wanted(1, 300), TEN, 62.6))  # the prompt counts no longer
    book.settle(db, [SettledCall(number, "p", 0.0, Amounts(0, 0, 0))], 62.7)
    assert granted(other.reserve(db, wanted(1, 401), TEN, 65.5)) == []
    assert len(granted(other.reserve(db, wanted(1, 401), TEN, 65.6))) == 1, "nor the answer, which ended later"


def test_slots_of_the_dead_are_free_again(db: sqlite3.Connection) -> None:
    three = {"p": ProviderLimits(concurrent=3)}
    create_run(db, new_run("dead"), Owner("o1", 1, "elsewhere"), 100.0)
    create_run(db, new_run("alive"), Owner("o2", 2, "h"), 1000.0)
    create_run(db, new_run("mine"), Owner("o3", 3, "h"), 1000.0)
    dead, alive, mine = (
        SharedReservations("dead", "o1"),
        SharedReservations("alive", "o2"),
        SharedReservations("mine", "o3"),
    )
    dead.reserve(db, wanted(2), three, 90.0)
    alive.reserve(db, wanted(1), three, 90.0)
    assert mine.reserve(db, wanted(1), three, 99.0) == [Refused("concurrent", 99.1)]
    assert mine.reserve(db, wanted(1), three, 101.0) == [Refused("concurrent", 101.1)], "it may only be late"
    assert len(granted(mine.reserve(db, wanted(3), three, 101.0 + BOUND))) == 2
    again = SharedReservations("alive", "o4")
    assert granted(again.reserve(db, wanted(1), three, 102.0 + BOUND)) == []
    release_lease(db, "alive", Owner("o2", 2, "h"))
    take_lease(db, "alive", Owner("o4", 3, "h"), 2000.0, 103.0 + BOUND)
    assert len(granted(again.reserve(db, wanted(1), three, 104.0 + BOUND))) == 1


def test_a_cooldown_holds_for_all_and_the_latest_word_counts(db: sqlite3.Connection) -> None:
    one, other = SharedReservations("r1", "o1"), SharedReservations("r2", "o2")
    one.cool_down(db, "p", 50.0)
    one.cool_down(db, "p", 30.0)
    assert other.reserve(db, wanted(2), TEN, 49.0) == [Refused("cooldown", 50.0)] * 2
    assert len(granted(other.reserve(db, wanted(1), TEN, 50.0))) == 1


def test_what_a_provider_says_tightens_and_never_loosens(db: sqlite3.Connection) -> None:
    book = SharedReservations("r", "o")
    book.learn(db, "p", {"requests": 3, "tokens": 1_000_000})
    assert len(granted(book.reserve(db, wanted(5, 300), TEN, 0.0))) == 3
    book.learn(db, "p", {"requests": 1000})
    assert len(granted(book.reserve(db, wanted(9), TEN, 1.0))) == 7


def test_old_rows_go_and_a_clock_that_was_set_back_blocks_for_one_window_only(db: sqlite3.Connection) -> None:
    book = SharedReservations("r", "o")
    rows = granted(book.reserve(db, wanted(10), TEN, 5000.0))
    fresh = SharedReservations("r2", "o2")
    answered(book, db, rows, 5000.0)
    assert fresh.reserve(db, wanted(1), TEN, 1000.0) == [Refused("requests", 1060.6)]
    assert len(granted(fresh.reserve(db, wanted(1), TEN, 1060.6))) == 1
    book.settle(db, [SettledCall(n, "p", 5000.0, None) for n in rows], 5001.0)
    book.reserve(db, wanted(1), TEN, 5062.0 + PRUNE)
    assert db.execute("SELECT count(*) FROM reservations WHERE at = 5000").fetchone() == (0,)


def test_what_the_dead_left_open_does_not_stay_for_ever(db: sqlite3.Connection) -> None:
    def count() -> int:
        number: int = db.execute("SELECT count(*) FROM reservations WHERE at < 100").fetchone()[0]
        return number

    create_run(db, new_run("dead"), Owner("o1", 1, "elsewhere"), 20.0)
    create_run(db, new_run("mine"), Owner("o2", 2, "h"), 9000.0)
    SharedReservations("dead", "o1").reserve(db, wanted(3), TEN, 10.0)
    mine = SharedReservations("mine", "o2")
    mine.reserve(db, wanted(1), TEN, 11.0)
    assert count() == 4
    mine.reserve(db, wanted(1), TEN, 3000.0)
    assert count() == 1, "mine is under way still"


def test_who_takes_a_run_up_gives_back_what_the_one_before_had(db: sqlite3.Connection) -> None:
    SharedReservations("r", "died").reserve(db, wanted(3), TEN, 0.0)
    SharedReservations("r", "next").release_all(db, 1.0)
    assert db.execute("SELECT count(*) FROM reservations WHERE released IS NULL").fetchone() == (0,)
    assert len(granted(SharedReservations("x", "y").reserve(db, wanted(10), TEN, 2.0))) == 7, (
        "it was sent, and counts"
    )


def test_a_call_that_is_not_sent_counts_as_now_in_every_process(db: sqlite3.Connection) -> None:
    one, other = alive(db, "o1", "o2")
    held = granted(one.reserve(db, wanted(10), TEN, 0.0))
    assert granted(other.reserve(db, wanted(1), TEN, 200.0)) == []
    answered(one, db, held, 201.0)
    assert granted(other.reserve(db, wanted(1), TEN, 261.5)) == []
    assert len(granted(other.reserve(db, wanted(10), TEN, 261.6))) == 10


def test_what_a_dead_process_may_have_sent_counts_from_when_that_is_noticed(db: sqlite3.Connection) -> None:
    create_run(db, new_run("dead"), Owner("o1", 1, "elsewhere"), 10.0)
    dead, other = SharedReservations("dead", "o1"), SharedReservations("other", "o2")
    held = granted(dead.reserve(db, wanted(10), TEN, 0.0))
    answered(dead, db, held[:5], 1.0)
    assert len(granted(other.reserve(db, wanted(10), TEN, 90.0))) == 5, "the others hold their places"
    assert granted(other.reserve(db, wanted(1), TEN, 90.0 + LATEST + 60.5)) == []
    (row,) = db.execute("SELECT min(at) FROM reservations WHERE run = 'dead' AND at > 1").fetchall()
    assert row[0] == 90.0 + LATEST


def test_a_turn_that_is_rolled_back_never_was(db: sqlite3.Connection) -> None:
    book = SharedReservations("r", "o")
    book.reserve(db, wanted(1), TEN, 0.0)
    db.execute("BEGIN IMMEDIATE")
    book.reserve(db, wanted(9), TEN, 1.0)
    db.execute("ROLLBACK")
    assert len(granted(book.reserve(db, wanted(10), TEN, 2.0))) == 9


def test_it_works_without_a_file() -> None:
    log, book = MemoryLog(), SharedReservations("r", "o")
    answers = log.call(lambda db: book.reserve(db, wanted(12), TEN, 0.0)).result()
    assert len(granted(answers)) == 10
    log.close()


PROCESS = """
import sys, time
from agentdeck.limits.fair_sharing import AGAIN, SLICE
from agentdeck.limits.reservations import Amounts
from agentdeck.store.provider_reservations import Granted, ReservationRequest, SettledCall
from agentdeck.store.reservations import SharedReservations
from agentdeck.store.writer import Writer
from agentdeck.workflow.model import ProviderLimits, Rate
name, path, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
limits = {"p": ProviderLimits(requests=Rate(40, 1.0))}
writer, book = Writer(path), SharedReservations(name, name)
wanted = [ReservationRequest("p", "1", "s", 1, Amounts(1, 1, 1))] * 16
end = time.time() + seconds
while time.time() < end:
    def turn(db):
        now = time.time()
        return now, book.reserve(db, wanted, limits, now)
    now, answers = writer.call(turn).result()
    mine = [a for a in answers if isinstance(a, Granted)]
    for one in mine:
        print(now, flush=True)
    writer.call(lambda db: book.settle(db, [SettledCall(a.id, "p", now, None) for a in mine], time.time()))
    refused = [a.until for a in answers if not isinstance(a, Granted)]
    time.sleep(max(0.0, min(refused, default=now) - time.time()))
writer.close()
"""


def test_three_processes_at_once_and_one_killed_stay_within_the_limit_and_use_it(tmp_path: Path) -> None:
    path, seconds = tmp_path / "p.db", 4.0
    open_for_writing(path).close()
    code = textwrap.dedent(PROCESS)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"r{n}", str(path), str(seconds)], stdout=subprocess.PIPE, text=True
        )
        for n in range(3)
    ]
    time.sleep(1.5)
    processes[0].kill()
    out = [process.communicate(timeout=30)[0] for process in processes]
    times = sorted(float(line) for text in out for line in text.splitlines() if line)
    worst = max(sum(at - 1.0 < other <= at for other in times) for at in times)
    assert worst <= 40
    steady = [at for at in times if at <= times[0] + 3.0]
    assert len(steady) >= 0.95 * 40 * 3
    Writer(path).close()

"""Leases, once, cache, letters and commands: the statements that run inside the writer."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agentdeck.errors import Fault
from agentdeck.scheduler.events import Author
from agentdeck.store.commands import answer_command, put_command, take_commands
from agentdeck.store.lease import BOUND
from agentdeck.store.letters import Letter, add_letter, set_letter, settle_letters
from agentdeck.store.log import Log, MemoryLog
from agentdeck.store.once import (
    Cached,
    Claim,
    Holder,
    cache_get,
    cache_put,
    once_claim,
    once_decide,
    once_done,
    once_key_of,
    once_mark_unknown,
    once_release,
    once_state,
)
from agentdeck.store.reader import Reader
from agentdeck.store.runs import Owner, create_run, release_lease, renew_lease, take_lease
from agentdeck.store.schema import open_for_writing
from agentdeck.store.writer import Writer
from tests.store.samples import new_run, order

ME, YOU = Owner("me", 1, "here"), Owner("you", 2, "there")


def test_a_lease_has_one_holder(tmp_path: Path) -> None:
    c = open_for_writing(tmp_path / "a.db")
    create_run(c, new_run("r"), ME, 10.0)
    assert not take_lease(c, "r", YOU, 20.0, now=9.0)
    assert renew_lease(c, "r", ME, 15.0)
    assert not take_lease(c, "r", YOU, 20.0, now=14.0)
    assert not take_lease(c, "r", YOU, 20.0, now=16.0), "the clocks of two machines differ"
    assert take_lease(c, "r", YOU, 20.0, now=15.0 + BOUND + 1), "it ran out long ago"
    assert not renew_lease(c, "r", ME, 99.0), "the old holder learns it"
    assert not release_lease(c, "r", ME)
    assert not take_lease(c, "r", ME, 30.0, now=17.0)
    assert release_lease(c, "r", YOU)
    assert take_lease(c, "r", ME, 30.0, now=17.0)
    assert release_lease(c, "r", ME)
    assert take_lease(c, "r", YOU, 40.0, now=18.0)
    assert not take_lease(c, "no such run", YOU, 40.0, now=18.0)


def test_once_is_claimed_then_done_or_unknown(tmp_path: Path) -> None:
    c = open_for_writing(tmp_path / "a.db")
    first, second = Holder("r1", "1/s", 1, "me"), Holder("r2", "1/z", 1, "you")
    assert once_claim(c, "k", first, 1.0).state == "new"
    assert once_claim(c, "k", second, 2.0) == Claim("unknown", None, first, 1.0)
    once_release(c, "k", second)
    assert once_claim(c, "k", second, 2.0).state == "unknown", "another one's claim stays"
    once_release(c, "k", first)
    assert once_claim(c, "k", second, 3.0).state == "new"
    once_done(c, "k", {"sent": True})
    assert once_claim(c, "k", first, 4.0) == Claim("done", {"sent": True}, second, 3.0)
    once_release(c, "k", second)
    assert not once_decide(c, "k", None), "what took effect stays"
    assert once_claim(c, "k", first, 5.0).state == "done"


def test_a_key_is_held_while_the_process_of_its_holder_executes_the_run(tmp_path: Path) -> None:
    c = open_for_writing(tmp_path / "a.db")
    create_run(c, new_run("r"), ME, time.time() + 60)
    holder = Holder("r", "1/s", 1, ME.name)
    assert once_claim(c, "k", holder, 1.0).state == "new"
    assert once_state(c, "k") == Claim("held", None, holder, 1.0)
    assert not once_decide(c, "k", ("paid",)), "it may still take effect"
    release_lease(c, "r", ME)
    assert once_state(c, "k").state == "unknown"
    assert once_key_of(c, "r", "1/s") == "k"
    assert once_decide(c, "k", ("paid",))
    assert once_state(c, "k").result == "paid"
    assert once_claim(c, "b", holder, 1.0).state == "new"
    once_mark_unknown(c, "b")
    assert once_decide(c, "b", None)
    assert once_state(c, "b").state == "new"


def test_the_cache_forgets(tmp_path: Path) -> None:
    c = open_for_writing(tmp_path / "a.db")
    assert cache_get(c, "k", 0.0) == Cached(False)
    cache_put(c, "k", None, now=0.0, seconds=10.0)
    assert cache_get(c, "k", 9.0) == Cached(True, None)
    assert cache_get(c, "k", 10.0) == Cached(False)
    cache_put(c, "other", [1], now=11.0, seconds=10.0)
    assert c.execute("SELECT key FROM cache").fetchall() == [("other",)]


def letter(message: str, **more: str) -> Letter:
    return Letter("r", "t1", "pay", "pay", "i", Fault("exit", message), {"a": [1]}, 3, 5.0, **more)  # type: ignore[arg-type]


def test_letters_are_kept_grouped_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    c = open_for_writing(path)
    first = add_letter(c, letter("order 17 of 'bob' failed"))
    add_letter(c, letter("order 18 of 'eve' failed"))
    add_letter(c, letter("no such command"))
    reader = Reader(path)
    kept = reader.letters("r")
    assert kept[0].fault == Fault("exit", "order 17 of 'bob' failed")
    assert kept[0].inputs == {"a": [1]}
    assert (kept[0].id, kept[0].attempts, kept[0].at) == (first, 3, 5.0)
    assert kept[0].cause == kept[1].cause != kept[2].cause
    assert set_letter(c, first, "dropped", "known")
    assert not set_letter(c, 99, "dropped")
    with pytest.raises(ValueError, match="not lost"):
        set_letter(c, first, "lost")
    assert settle_letters(c, "r", "t1", "pay", "closed") == 2
    assert [one.state for one in reader.letters()] == ["dropped", "closed", "closed"]
    assert reader.letters("other") == []
    assert [one.why for one in reader.letters(state="dropped")] == ["known"]


def test_commands_are_taken_once_and_answered(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    c = open_for_writing(path)
    reader = Reader(path)
    first = put_command(c, "r", "pause", {}, Author("ann"), 1.0)
    put_command(c, "r", "limits", {"workers": 8}, Author("bob"), 2.0)
    put_command(c, "other", "pause", {}, Author("ann"), 3.0)
    assert [command.verb for command in reader.commands("r")] == ["pause", "limits"]
    taken = take_commands(c, "r", 5.0)
    assert [(command.verb, command.args, command.who) for command in taken] == [
        ("pause", {}, "ann"),
        ("limits", {"workers": 8}, "bob"),
    ]
    assert take_commands(c, "r", 6.0) == reader.commands("r") == []
    answer_command(c, first, {"ok": True})
    answered = reader.command(first)
    assert answered is not None
    assert (answered.answer, answered.taken_at) == ({"ok": True}, 5.0)
    assert reader.command(99) is None


def test_the_memory_log_commits_at_once() -> None:
    log = MemoryLog()
    holder = Holder("r", "1/s")
    assert log.call(lambda c: once_claim(c, "k", holder, 1.0)).result().state == "new"
    assert log.call(lambda c: once_claim(c, "k", holder, 1.0)).result().state == "unknown"
    assert isinstance(log.call(lambda c: [][0]).exception(), IndexError)
    log.flush()
    log.close()


def test_both_logs_are_what_the_engine_asks_for(tmp_path: Path) -> None:
    logs: list[Log] = [Writer(tmp_path / "a.db"), MemoryLog()]
    for log in logs:
        log.append("r", 1, order(1))
        log.call(lambda c: create_run(c, new_run("r"))).result(10)
        log.flush(10)
        assert log.backlog == 0
        log.close()

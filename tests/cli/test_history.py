"""History that answers: runs by filter and page, show, why, diff, on real runs."""

from __future__ import annotations

import json
import sqlite3

import pytest

from tests.cli.conftest import QUICK, WHO, Deck
from tests.waiting import until

SHOP = """
agentdeck: 1
name: shop
inputs: { n: { type: integer, default: 1 } }
agents:
  extract: { simulate: { takes: 10ms, returns: { n: "${inputs.n}" } } }
  payment: { needs: extract, command: [sh, -c, 'test "$1" -ne 3 && echo $(($1 * 2))', sh, "${extract.n}"], retry: { attempts: 2, delay: 10ms } }
  gift:    { needs: extract, when: extract.n > 100, simulate: { takes: 1ms } }
  confirm: { needs: [payment, extract], simulate: { takes: 10ms, returns: "${payment}" } }
output: ${confirm}
"""  # noqa: E501
QUEUE = """
agentdeck: 1
name: queue
agents:
  one:   { simulate: { takes: 10m } }
  two:   { simulate: { takes: 10m } }
  three: { needs: one, simulate: { takes: 1s } }
  gate:  { approve: { ask: "Go?" } }
  late:  { needs: gate, simulate: { takes: 1ms } }
"""


def table(text: str) -> list[str]:
    """The first words of a table's rows."""
    return [line.split()[0] for line in text.splitlines()[1:]]


def test_runs_by_tag_time_and_page(deck: Deck) -> None:
    file = deck.write("quick.yaml", QUICK)
    for n, tags in enumerate([["--tag", "nightly"], ["--tag", "nightly", "--tag", "v2"], [], []]):
        assert deck("run", file, "-i", f"word=w{n}", *tags).returncode == 0
    all_ = [row["run"] for row in json.loads(deck("runs", "--json").stdout)]
    assert len(all_) == 4
    assert table(deck("runs", "--tag", "nightly").stdout) == all_[2:]
    assert table(deck("runs", "--tag", "v2").stdout) == [all_[2]]
    assert "#nightly #v2" in deck("runs", "--tag", "v2").stdout
    assert json.loads(deck("runs", "--tag", "v2", "--json").stdout)[0]["tags"] == ["nightly", "v2"]
    first = deck("runs", "--limit", 2)
    assert table(first.stdout) == all_[:2]
    assert f"--before {all_[1]}" in first.stderr
    last = deck("runs", "--limit", 2, "--before", all_[1])
    assert table(last.stdout) == all_[2:]
    assert last.stderr == ""
    assert len(table(deck("runs", "--since", "1h").stdout)) == 4
    assert deck("runs", "--until", "1h").stderr == "no runs\n"
    assert len(table(deck("runs", "--since", "2020-01-31", "--until", "2999-01-01T10:00").stdout)) == 4
    done = deck("runs", "--since", "yesterday")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--since: 'yesterday' is not a time; write 2h" in done.stderr
    with sqlite3.connect(deck.db) as connection:  # one that ran long ago
        connection.execute("UPDATE runs SET started = started - 86400 * 40 WHERE run = ?", (all_[0],))
    assert table(deck("runs", "--until", "30d").stdout) == [all_[0]]


def test_why_it_ended_so(deck: Deck) -> None:
    file = deck.write("shop.yaml", SHOP)
    tasks = deck.write("t.jsonl", '{"n": 1}\n{"n": 3}\n')
    assert deck("run", file, "--tasks", tasks).returncode == 1
    assert deck("why", "last", "payment").stdout.startswith("payment of task 2: failed after 2 attempts: ")
    said = deck("why", "last", "confirm", "--task", 2).stdout
    assert said.startswith("confirm of task 2: failed: payment, which it needs, failed after 2 attempts: ")
    assert deck("why", "last", "2/gift").stdout == "gift of task 2: skipped: when: extract.n > 100 is false\n"
    told = json.loads(deck("why", "last", "confirm", "--task", 1, "--json").stdout)
    assert (told["task"], told["step"], told["state"], told["reason"]) == ("1", "confirm", "done", "")
    assert told["why"].startswith("done in ")
    for args in (("last", "confrim"), ("last", "confirm", "--task", 9), ("nope", "confirm")):
        done = deck("why", *args)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("agentdeck: ")


def test_why_it_waits_now(deck: Deck) -> None:
    deck.start("run", deck.write("queue.yaml", QUEUE), "--workers", 1, "--wait")
    until(lambda: "running" in deck("why", "last", "one").stdout)
    said = deck("why", "last", "one").stdout
    assert said.startswith("one: running for ")
    assert "attempt 1 of 3; its timeout expires in " in said
    said = deck("why", "last", "two").stdout
    assert said.startswith("two: ready for ")
    assert said.endswith("; all workers busy (1/1); 0 ahead in the queue\n")
    assert deck("why", "last", "three").stdout.startswith("three: waits for one (running for ")
    assert deck("why", "last", "late").stdout.startswith("late: waits for gate (waiting for an approval for ")
    shown = deck("show", "last").stdout
    assert "1/one " in shown
    assert "owner      process" in shown
    limits = deck("limits", "last").stdout
    assert "1/1 running; 1 wait: two 1" in limits
    assert "1 running, the oldest for " in limits
    deck("pause", "last")
    assert deck("why", "last", "two").stdout.endswith(f"; the run is paused by {WHO}\n")
    assert f"paused     paused, by {WHO}" in deck("show", "last").stdout
    deck.started[0].kill()
    deck.started[0].wait()
    until(lambda: "no process executes" in deck("why", "last", "two").stdout)
    assert "resume     agentdeck resume" in deck("show", "last").stdout


def test_show_tells_what_was_waited_for(deck: Deck) -> None:
    tasks = deck.write("t.jsonl", '{"n": 1}\n{"n": 3}\n')
    deck("run", deck.write("shop.yaml", SHOP), "--tasks", tasks, "--tag", "nightly")
    lines = deck("show", "last").stdout.splitlines()
    assert "tags       nightly" in lines
    head = next(line for line in lines if line.startswith("waited for"))
    assert {"needs", "pool", "starting", "backoff"} >= set(head.split()[2:]) >= {"needs", "backoff"}
    assert any(line.split()[1:2] == ["failure"] and "2/payment" in line for line in lines)
    assert all(len(line) <= 100 for line in lines)
    one = deck("show", "last", "--timeline", 1).stdout
    assert "ended" in one
    assert "failure" not in one
    told = json.loads(deck("show", "last", "--json", "--timeline", 1000).stdout)
    assert [moment["kind"] for moment in told["timeline"]][-1] == "ended"
    assert told["agents"]["payment"]["waiting"]["backoff"] > 0


def test_where_two_runs_part(deck: Deck) -> None:
    tasks = deck.write("t.jsonl", '{"n": 1}\n{"n": 2}\n{"n": 4}\n{"n": 7}\n')
    deck("run", deck.write("shop.yaml", SHOP), "--tasks", tasks)
    changed = SHOP.replace("$(($1 * 2))", "$(($1 * $1))").replace("attempts: 2", "attempts: 4")
    others = deck.write("b.jsonl", '{"n": 5}\n{"n": 4}\n{"n": 2}\n{"n": 7}\n{"n": 9}\n')
    deck("run", deck.write("shop.yaml", changed), "--tasks", others, "--workers", 1)
    other, one = (row["run"] for row in json.loads(deck("runs", "--json").stdout))
    told = json.loads(deck("diff", one, other, "--json").stdout)
    assert told["runs"] == [one, other]
    assert told["definition"]["changed"]["payment"]["retry.attempts"] == [2, 4]
    assert list(told["definition"]["changed"]) == ["payment"]
    assert told["limits"]["workers"][1] == 1
    assert told["tasks"]["matched"] == 4
    assert told["tasks"]["same"] == 1, "2 * 2 is 2 + 2"
    assert told["tasks"]["only"] == [0, 1]
    parted = {tuple(task["tasks"]): task for task in told["tasks"]["first"]}
    assert set(parted) == {("1", "1"), ("3", "2"), ("4", "4")}
    assert [task["same_inputs"] for task in parted.values()] == [False, True, True]
    assert (parted["3", "2"]["step"], parted["3", "2"]["outputs"]) == ("payment", [8, 16])
    assert parted["1", "1"]["step"] == "extract"
    page = deck("diff", one, other).stdout
    assert "changed    payment.retry.attempts: 2 → 4" in page
    assert "task 3 / 2 differs first at payment" in page
    same = deck("diff", one, one).stdout
    assert "definition the same" in same
    assert "4 with the same output, 0 with a different one" in same
    assert deck("diff", one, "nope").returncode == 2


@pytest.mark.parametrize("verb", ["why", "show", "diff"])
def test_what_agents_say_does_nothing_to_the_terminal(deck: Deck, verb: str) -> None:
    bad = SHOP.replace('test "$1" -ne 3 && echo $(($1 * 2))', 'printf "\\033[31m\\033]0;x\\007" >&2; exit 1')
    deck("run", deck.write("shop.yaml", bad))
    args = {"why": ["last", "payment"], "show": ["last"], "diff": ["last", "last"]}[verb]
    done = deck(verb, *args)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout

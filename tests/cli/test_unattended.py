"""A run that no operator can see: it stops, resumable, where nothing can go on without one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.cli.conftest import ASKS, ROOT, Deck

DECK = """
agentdeck: 1
providers: {{ far: {{ type: openai, url: "{url}/v1", key: {{ command: [cat, "{key}"] }} }} }}
models: {{ m: {{ provider: far, id: {how}, price: {{ in: 1, out: 1 }} }} }}
tiers: {{ execution: m }}
"""
#: One agent asks a model; the others do not depend on it.
WORK = """
agentdeck: 1
name: work
agents:
  ask: { prompt: "Say hello." }
  first: { simulate: { takes: 100ms, returns: 1 } }
  second: { needs: first, simulate: { takes: 100ms, returns: 2 } }
  last: { needs: [ask, second], simulate: { takes: 10ms, returns: 3 } }
output: ${last}
"""
BUDGET = """
agentdeck: 1
name: poor
budget: { usd: 0.000001, ladder: { 100%: ask } }
agents:
  ask: { prompt: "Say hello.", max_output: 50 }
  other: { simulate: { takes: 10ms, returns: 1 } }
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    call = [sys.executable, "-m", "tests.providers.server"]
    with subprocess.Popen(call, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


def provider(deck: Deck, url: str, how: str) -> None:
    key = deck.write("key", "sk-wrong-0123456789")
    deck.write("deck.yaml", DECK.format(url=url, how=how, key=key))


def steps(deck: Deck) -> dict[str, int]:
    found: dict[str, int] = json.loads(deck("show", "last", "--json").stdout)["steps"]
    return found


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("keyed-sk-right-0123456789", "far answered 401"),
        ("entitled-sk-right-0123456789", "far answered 403"),
        ("quota", "stopped (quota)"),
    ],
)
def test_a_provider_that_cannot_be_used_ends_the_run_with_3(deck: Deck, url: str, how: str, told: str) -> None:
    provider(deck, url, how)
    deck.write("work.yaml", WORK)
    done = deck("run", "work.yaml")
    assert done.returncode == 3, done.stderr
    assert "stopped, as nothing can continue without an operator" in done.stderr
    assert told in done.stderr
    assert "1 step waits (ask of task 1)" in done.stderr
    assert "agentdeck resume" in done.stderr
    found = steps(deck)
    assert (found["done"], found["failed"], found["cancelled"]) == (2, 0, 0)  # what could go on went on
    assert deck("letters").stderr == "no dead letters\n"
    again = deck("resume", "last")
    assert again.returncode == 3
    deck.write("key", "sk-right-0123456789")
    deck.write("deck.yaml", (deck.folder / "deck.yaml").read_text().replace("id: quota", "id: fine"))
    mended = deck("resume", "last")
    assert (mended.returncode, mended.stdout) == (0, "3\n"), mended.stderr


def test_an_approval_that_nobody_will_answer_ends_the_run_with_1(deck: Deck) -> None:
    deck.write("asks.yaml", ASKS)
    tasks = deck.write("t.jsonl", "{}\n" * 3)
    done = deck("run", "asks.yaml", "--tasks", tasks)
    assert done.returncode == 1, done.stderr
    assert "gate asks for approval: 3 steps wait (gate of task 1, gate of task 2, gate of task 3)" in done.stderr
    assert "agentdeck approve" in done.stderr
    assert deck("resume", "last").returncode == 1
    assert deck("fork", "last").returncode == 1
    approved = deck("resume", "last", "--yes")
    assert approved.returncode == 0, approved.stderr


def test_commands_that_a_stop_names_are_complete(deck: Deck) -> None:
    """They name the store and the fields to give, and offer --yes only where it can answer."""
    deck.write("asks.yaml", ASKS.replace('ask: "Really?"', 'ask: "Really?", fields: { reason: string }'))
    done = deck("run", "asks.yaml", "--db", "my store.db")
    run = done.stderr.split()[0]
    resume = f"agentdeck resume {run} --db 'my store.db' --wait"
    answer = f"agentdeck approve {run} --db 'my store.db' gate yes|no --task 1 --field reason=…"
    assert f"{resume}, then {answer}\n" in done.stderr
    assert "--yes" not in done.stderr
    again = deck("fork", run, "--db", "my store.db")
    assert f"--db 'my store.db' --wait, then agentdeck approve {again.stderr.split()[1]} --db" in again.stderr
    assert (
        f"resume     agentdeck resume {run} --db 'my store.db'\n"
        in deck("show", run, "--db", "my store.db").stdout
    )
    assert "--db" not in deck("run", "asks.yaml").stderr  # the environment says which store


def test_an_approval_with_a_time_limit_is_waited_for(deck: Deck) -> None:
    deck.write("asks.yaml", ASKS.replace('ask: "Really?"', 'ask: "Really?", within: 1s, otherwise: approve'))
    done = deck("run", "asks.yaml")
    assert (done.returncode, done.stdout) == (0, "true\n"), done.stderr


def test_a_used_up_budget_ends_the_run_with_1(deck: Deck, url: str) -> None:
    provider(deck, url, "fine")
    deck.write("poor.yaml", BUDGET)
    done = deck("run", "poor.yaml")
    assert done.returncode == 1, done.stderr
    assert "stopped, as nothing can continue without an operator: budget of the run" in done.stderr
    assert "--wait, then agentdeck budget" in done.stderr


def test_with_wait_answers_a_used_up_budget_ends_the_run_all_the_same(deck: Deck, url: str) -> None:
    provider(deck, url, "fine")
    deck.write("poor.yaml", BUDGET)
    done = deck("run", "poor.yaml", "--wait-answers")
    assert done.returncode == 1, done.stderr
    assert "stopped, as nothing can continue without an operator: budget of the run" in done.stderr


def test_with_wait_answers_an_answer_is_waited_for(deck: Deck) -> None:
    deck.write("asks.yaml", ASKS)
    process = deck.start("run", "asks.yaml", "--wait-answers")
    assert process.stderr is not None
    while "waits for an approval" not in (line := process.stderr.readline()):
        assert line
    while deck("approve", "last", "gate", "yes").returncode:  # its process may have just begun
        assert process.poll() is None
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "true\n")


def test_a_retry_that_meets_an_approval(deck: Deck) -> None:
    fails = ASKS.replace("gate: {", "broken: { command: [test, -e, there] }\n  gate: { needs: broken,")
    deck.write("asks.yaml", fails)
    assert deck("run", "asks.yaml").returncode == 1
    deck.write("there", "")
    done = deck("letters", "retry", "--all")
    assert done.returncode == 1, done.stderr
    assert "gate asks for approval: 1 step waits" in done.stderr
    assert deck("resume", "last", "--yes").returncode == 0


def test_with_wait_it_says_what_it_waits_for_and_goes_on(deck: Deck) -> None:
    deck.write("asks.yaml", ASKS)
    process = deck.start("run", "asks.yaml", "--wait")
    assert process.stderr is not None
    said = ""
    while "agentdeck approve" not in said.partition("nothing can continue until an operator acts:")[2]:
        line = process.stderr.readline()
        assert line, said
        said += line
    assert "gate asks for approval: 1 step waits (gate of task 1)" in said
    assert deck("approve", "last", "gate", "yes").returncode == 0
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "true\n")

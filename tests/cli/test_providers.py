"""What an operator sees and does when a provider does not do its part."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.cli.conftest import ROOT, Deck
from tests.waiting import until

GOOD, BAD = "sk-good-0123456789", "sk-bad-0123456789"
DECK = """
agentdeck: 1
providers: {{ far: {{ type: openai, url: "{url}/v1", key: {key} }} }}
models: {{ m: {{ provider: far, id: {how}, price: {{ in: 1, out: 1 }} }} }}
tiers: {{ execution: m }}
"""
WORK = """
agentdeck: 1
name: asks
agents: { a: { prompt: "Say ${task.n}.", retry: { attempts: 3, delay: 10ms } } }
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    call = [sys.executable, "-m", "tests.providers.server"]
    with subprocess.Popen(call, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


def begin(deck: Deck, url: str, how: str, key: str) -> subprocess.Popen[str]:
    deck.write("deck.yaml", DECK.format(url=url, how=how, key=key))
    deck.write("w.yaml", WORK)
    deck.write("t.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(12)))
    return deck.start("run", "w.yaml", "--tasks", "t.jsonl", "--workers", "4", "--wait")


def test_a_wrong_key_parks_says_what_to_do_and_goes_on_once_it_is_mended(deck: Deck, url: str) -> None:
    key = deck.write("key", BAD)
    process = begin(deck, url, f"keyed-{GOOD}", f'{{ command: [cat, "{key}"] }}')
    until(lambda: "12 steps: " in deck("show", "last").stdout)
    stopped = "far is stopped (auth): far answered 401: Incorrect API key provided: [key]"
    shown = deck("show", "last").stdout
    run = shown.split()[0]
    assert f"12 steps: {stopped}; check this provider's `key` in the deck\n" in shown
    assert stopped in deck("why", "last", "a").stdout
    assert stopped in deck("limits", "last").stdout
    key.write_text(GOOD)
    assert deck("pause", "last").returncode == 0
    assert deck("resume", "last").returncode == 0
    _, said = process.communicate(timeout=60)
    then = f"once this is fixed: agentdeck pause {run}, then agentdeck resume {run}"
    told = f"its steps wait, and none fails; {then}"
    assert told in said
    assert "12 tasks done" in said
    assert BAD not in said + shown


def test_a_wrong_key_from_the_environment_is_mended_by_draining(deck: Deck, url: str) -> None:
    deck.env["FAR_KEY"] = BAD
    process = begin(deck, url, f"keyed-{GOOD}", '"${env.FAR_KEY}"')
    until(lambda: "12 steps: " in deck("show", "last").stdout)
    assert "then agentdeck resume" in deck("show", "last").stdout
    assert deck("drain", "last").returncode == 0
    _, said = process.communicate(timeout=60)
    assert "with the right key" in said
    assert "0 tasks done, 12 open" in said
    again = deck("resume", "last", FAR_KEY=GOOD)
    assert again.returncode == 0
    assert "12 tasks done" in again.stderr


def test_a_provider_that_says_slower_is_told_in_plain_words(deck: Deck, url: str) -> None:
    process = begin(deck, url, "slower-30", "none-needed")
    until(lambda: "12 steps: " in deck("show", "last").stdout)
    assert "far is not called for now: the server asked to wait 30s" in deck("show", "last").stdout
    assert "far is not called for now: the server asked to wait 30s" in deck("limits", "last").stdout
    said = deck("why", "last", "a").stdout
    assert "not called for now" in said or "the server asked to wait" in said, said
    assert process.poll() is None


def test_a_provider_that_fails_rests_and_that_is_told(deck: Deck, url: str) -> None:
    deck.write("t.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(12)))
    process = begin(deck, url, "broken", "none-needed")
    until(lambda: "is not called for" in deck("show", "last").stdout)
    assert "of its last 1" in deck("show", "last").stdout
    deck("cancel", "last")
    _, said = process.communicate(timeout=60)
    assert "far is not called for 5 s: " in said
    assert "calls failed" in said


def test_a_price_that_is_not_known_is_told_as_unknown(deck: Deck, url: str) -> None:
    begin(deck, url, "ok", "none-needed").communicate(timeout=60)
    assert "cost       $0.00" in deck("show", "last").stdout
    deck.write("deck.yaml", (deck.folder / "deck.yaml").read_text().replace(", price: { in: 1, out: 1 }", ""))
    assert deck("run", "w.yaml", "--tasks", "t.jsonl", "--json").returncode == 0
    assert "cost       unknown: not every model has a price" in deck("show", "last").stdout
    told = json.loads(deck("show", "last", "--json").stdout)
    assert (told["usd"], told["agents"]["a"]["usd"], told["agents"]["a"]["cached_in"]) == (None, None, 60)


def test_a_provider_that_is_not_in_the_deck_is_named_before_anything_starts(deck: Deck, url: str) -> None:
    deck.write("deck.yaml", DECK.format(url=url, how="ok", key="x").replace("provider: far", "provider: fra"))
    deck.write("w.yaml", WORK)
    done = deck("run", "w.yaml")
    assert done.returncode == 2
    assert "fra" in done.stderr
    assert "did you mean far?" in done.stderr
    assert "no runs" in deck("runs").stderr + deck("runs").stdout


CHEAP = (
    " }\ntiers: { execution: m }",
    ", c: { provider: far, id: ok, price: { in: 0.1, out: 0.1 } } }\ntiers: { execution: m, routing: c }",
)
BUDGETED = """
agentdeck: 1
name: asks
budget: { usd: 0.0004 }
agents: { a: { prompt: "Say ${task.n}.", max_output: 20 } }
"""


def test_a_budget_that_is_used_up_shows_what_is_left_and_what_can_be_done(deck: Deck, url: str) -> None:
    deck.write("deck.yaml", DECK.format(url=url, how="ok", key="none-needed").replace(*CHEAP))
    deck.write("w.yaml", BUDGETED)
    deck.write("t.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(40)))
    process = deck.start("run", "w.yaml", "--tasks", "t.jsonl", "--workers", "4", "--wait")
    until(lambda: "paused" in deck("runs").stdout)
    page = deck("budget", "last").stdout
    run = page.split()[0]
    told = json.loads(deck("budget", "last", "--json").stdout)
    left = told["left"]
    assert left["prompts"] == 40 - sum(agent["done"] for agent in steps(deck))
    assert left["usd"] == pytest.approx(left["prompts"] * 41e-6)
    assert left["usd_routing"] == pytest.approx(left["prompts"] * 4.1e-6)
    assert f"left       {left['prompts']} prompts of " in page
    for command in (f"agentdeck budget {run} +0.0", f"agentdeck cancel {run}"):
        assert command in page
    (routing,) = [line for line in page.splitlines() if "--routing" in line]
    offer = routing.split()[3]
    assert deck("budget", "last", offer, "--routing").returncode == 0
    _, said = process.communicate(timeout=60)
    assert "40 tasks done" in said
    shown = deck("show", "last").stdout
    assert f"budget     reduced by its ladder: a {left['prompts']} on the routing tier" in shown
    assert "limit budget.tier: none → routing" in said


def steps(deck: Deck) -> list[dict[str, int]]:
    return list(json.loads(deck("show", "last", "--json").stdout)["agents"].values())

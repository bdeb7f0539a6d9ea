"""The deck: found, read, and refused with a place."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentdeck.errors import InvalidFile
from agentdeck.workflow.check import check
from agentdeck.workflow.deck import Deck, McpServer, Model, Provider, Secret, deck_for, find_deck, load_deck
from agentdeck.workflow.model import ProviderLimits, Rate

DECK = """\
agentdeck: 1
limits: { workers: 12 }
x-limits: &limits { requests: 50/min, output_tokens: 8k/min, concurrent: 10 }
providers:
  anthropic: { type: anthropic, key: "${env.ANTHROPIC_API_KEY}", limits: *limits }
  openai:    { type: openai, key: { command: [pass, show, openai] }, limits: { tokens: 200k/min }, learn: true }
  local:     { type: openai, url: "http://127.0.0.1:8000/v1", max_retry_after: 2m }
models:
  haiku:  { provider: anthropic, id: claude-haiku-4-5 }
  mini:   { provider: openai, id: gpt-4o-mini, price: { in: 0.15, out: 0.6, cached: 0.075 }, max_output: 16k }
tiers:
  routing:   [haiku, mini]
  execution: mini
mcp:
  files: { command: [npx, server], env: { TOKEN: "${env.ANTHROPIC_API_KEY}" } }
  wiki:  { url: "https://wiki.example/mcp" }
secrets:
  DB: { file: keys/db }
  CRM: { command: [pass, show, crm] }
  WIKI: { env: WIKI_TOKEN }
"""


@pytest.fixture(autouse=True)
def _nothing_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")


def written(folder: Path, text: str = DECK) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "deck.yaml").write_text(text)
    return folder / "deck.yaml"


def test_a_deck_is_read_whole_and_keys_stay_as_written(tmp_path: Path) -> None:
    deck = load_deck(written(tmp_path))
    assert deck.workers == 12
    assert deck.providers["anthropic"] == Provider(
        "anthropic",
        "${env.ANTHROPIC_API_KEY}",
        limits=ProviderLimits(requests=Rate(50, 60), output_tokens=Rate(8000, 60), concurrent=10),
    )
    assert deck.providers["openai"].learn
    assert deck.providers["local"].max_retry_after == 120
    assert deck.providers["openai"].max_retry_after == 600
    assert deck.providers["local"].url == "http://127.0.0.1:8000/v1"
    assert deck.models["mini"] == Model("openai", "gpt-4o-mini", (0.15, 0.6), 0.075, 16_000)
    assert (deck.models["haiku"].price, deck.models["haiku"].max_output) == (None, None)
    assert deck.tiers == {"routing": ("haiku", "mini"), "execution": ("mini",)}
    assert deck.mcp["files"] == McpServer(("npx", "server"), {"TOKEN": "${env.ANTHROPIC_API_KEY}"})
    assert deck.mcp["wiki"] == McpServer(url="https://wiki.example/mcp")
    assert deck.secrets == {
        "DB": Secret(file=str(tmp_path / "keys/db")),
        "CRM": Secret(command=("pass", "show", "crm")),
        "WIKI": Secret(env="WIKI_TOKEN"),
    }
    assert "sk-secret" not in repr(deck)


@pytest.mark.parametrize("text", ["{ rate: 50/min, burst: 5 }", "50/min burst 5"])
def test_a_burst_is_read_in_both_forms(tmp_path: Path, text: str) -> None:
    deck = load_deck(
        written(tmp_path, DECK.replace("requests: 50/min", f"requests: {text}, input_tokens: {text}"))
    )
    limits = deck.providers["anthropic"].limits
    assert limits.requests == limits.input_tokens == Rate(50, 60, 5)


def test_the_deck_beside_the_workflow_comes_before_the_users(tmp_path: Path) -> None:
    beside = tmp_path / "flows"
    beside.mkdir()
    assert find_deck(beside) is None
    assert deck_for(beside) == Deck()
    users = written(tmp_path / "config" / "agentdeck")
    assert find_deck(beside) == users
    own = written(beside)
    assert find_deck(beside) == own
    assert deck_for(beside).file == own


@pytest.mark.parametrize(
    ("line", "changed", "fault"),
    [
        ("id: claude-haiku-4-5", "", "9:11: id is missing; add id:"),
        (
            "provider: openai",
            "provider: opnai",
            "10:23: opnai is not a provider of this deck; did you mean openai?",
        ),
        ("[haiku, mini]", "[haiku, mni]", "12:22: mni is not a model of this deck; did you mean mini?"),
        ("type: anthropic", "type: antropic", "5:22: 'antropic' is not one of anthropic, openai, simulated; did"),
        ("requests: 50/min", "requests: 50", "3:31: 50 is not a rate; write it like"),
        ("requests: 50/min", "requests: { rate: 50 }", "3:39: 50 is not a rate; write it like"),
        ("requests: 50/min", "requests: { burst: 5 }", "3:31: rate is missing; add rate:"),
        (
            "requests: 50/min",
            "requests: { rate: 50/min, burst: 90 }",
            "3:54: a burst of 90 does not fit 50/min; write",
        ),
        (
            "requests: 50/min",
            "requests: { rate: 50/min, burst: 0 }",
            "3:54: a burst of 0 does not fit 50/min; write 1",
        ),
        (
            "requests: 50/min",
            "requests: { rate: 50/min, burts: 5 }",
            "3:47: burts is not a key here; did you mean burst?",
        ),
        (
            "requests: 50/min",
            "requests: { rate: 9/s burst 2, burst: 5 }",
            "3:59: the burst is given twice; remove it",
        ),
        ("requests: 50/min", "requests: 50/min burst x", "3:31: '50/min burst x' is not a rate; write it like"),
        ("8k/min", "{ rate: 8k/min, burst: 1k }", "3:54: a burst is possible for requests and input_tokens only"),
        ("workers: 12", "wokers: 12", "2:11: wokers is not a key here; did you mean workers?"),
        ("{ url: ", "{ command: [x], url: ", "16:26: command and url: only one of them is allowed"),
        (
            "env: { TOKEN: ",
            "env: { X: '${secret.WIKY}', T: ",
            "15:46: WIKY is not a secret of this deck; did you",
        ),
        ("[npx, server]", "[npx, '${secret.CRM}']", "15:27: a secret is not allowed here"),
        (
            '"${env.ANTHROPIC_API_KEY}", limits',
            '"${secret.CRM}", limits',
            "5:38: a secret is not allowed here; a provider's key is read from env or command",
        ),
        ("{ env: WIKI_TOKEN }", "{ env: X, file: y }", "20:19: env and file: only one of them is allowed"),
        (
            "  DB: { file: keys/db }",
            "  'a-b': { env: X }",
            "18:3: 'a-b' is not a valid name for a secret; use letters",
        ),
        ("agentdeck: 1", "agentdeck: 9", "1:12: 9 is too large; the most is 1"),
        (
            "tiers:\n",
            "gateway: { models: { 'gpt-*': haik } }\ntiers:\n",
            "11:31: haik is not a model or tier of this deck; did you mean haiku?",
        ),
        ("tiers:\n", "gateway: { al: true }\ntiers:\n", "11:12: al is not a key here; did you mean all?"),
        ("tiers:\n", "gateway: { all: maybe }\ntiers:\n", "11:17: true or false is needed here"),
        ("tiers:\n", "gateway: { models: {} }\ntiers:\n", "11:20: it is empty"),
    ],
)
def test_faults_have_their_place(tmp_path: Path, line: str, changed: str, fault: str) -> None:
    file = written(tmp_path, DECK.replace(line, changed, 1))
    with pytest.raises(InvalidFile) as caught:
        load_deck(file)
    assert any(str(issue).startswith(f"{file}:{fault}") for issue in caught.value.issues), str(caught.value)
    assert check(file) == list(caught.value.issues)


@pytest.mark.parametrize("text", ["", "- a", "just text", "agentdeck: [", "agentdeck: 1\nmodels: 5\ntiers: x\n"])
def test_what_is_no_deck_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidFile):
        load_deck(written(tmp_path, text))


def test_what_is_a_deck_is_not_checked_as_a_workflow(tmp_path: Path) -> None:
    assert check(written(tmp_path, DECK)) == []

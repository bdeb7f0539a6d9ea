"""What each verb prints, and its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from agentdeck.cli.main import MODULES
from tests.cli.conftest import QUICK, ROOT, Deck
from tests.engine.test_searched_order import store as seen_store
from tests.scheduler.test_order_search import NEEDS, samples
from tests.waiting import until

Until: TypeAlias = Callable[[Callable[[], bool]], None]


def test_version_imports_click_and_no_more(deck: Deck) -> None:
    code = (
        "import sys; from agentdeck.cli.main import main\n"
        "try: main(['--version'])\n"
        "except SystemExit as left: assert left.code == 0\n"
        "heavy = ('rich', 'anyio', 'asyncio', 'pydantic', 'ruamel', 'sqlite3', 'textual')\n"
        "print([n for n in heavy if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=deck.env, check=True)
    assert done.stdout.splitlines()[0].startswith("agentdeck ")
    assert done.stdout.splitlines()[1] == "[]"


@pytest.mark.parametrize("verb", MODULES)
def test_every_verb_has_help(deck: Deck, verb: str) -> None:
    done = deck(verb, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: agentdeck {verb}")
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


def test_an_unknown_verb(deck: Deck) -> None:
    done = deck("chek")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean check?" in done.stderr


@pytest.mark.parametrize("file", sorted((ROOT / "workflows").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_fine(deck: Deck, file: Path) -> None:
    assert deck("check", file).stdout == f"{file}: ok\n"
    planned = json.loads(deck("plan", file, "--json").stdout)
    assert planned["levels"]


def test_check_tells_every_fault(deck: Deck) -> None:
    bad = deck.write(
        "bad.yaml", QUICK.replace("needs: first", "needs: frist").replace("takes: 10ms", "takes: 10")
    )
    done = deck("check", bad)
    assert done.returncode == 2
    assert "bad.yaml:" in done.stdout
    assert "frist" in done.stdout
    told = json.loads(deck("check", bad, "--json").stdout)
    assert told["ok"] is False
    assert all(issue["line"] > 0 for issue in told["issues"])


def test_a_file_that_is_not_there(deck: Deck) -> None:
    for verb in ("check", "plan", "run"):
        done = deck(verb, "nowhere.yaml")
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_plan_for_people(deck: Deck) -> None:
    done = deck("plan", ROOT / "workflows/order.yaml", "--tasks", 10, "--workers", 4)
    assert "order: 10 tasks at 4 workers" in done.stdout
    assert "critical path  extract → inventory → confirm  (5.0 s)" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert not deck.db.exists()


def test_plan_says_who_would_answer(deck: Deck) -> None:
    deck.write("w.yaml", "agentdeck: 1\nname: w\nagents: { a: { prompt: Hello } }\n")
    assert "models         tier execution: simulated\n" in deck("plan", "w.yaml").stdout
    providers, models = "p: { type: simulated }", "x: { provider: p, id: x }, y: { provider: p, id: y }"
    deck.write(
        "deck.yaml",
        f"agentdeck: 1\nproviders: {{ {providers} }}\nmodels: {{ {models} }}\ntiers: {{ execution: [x, y] }}\n",
    )
    assert "models         tier execution: x of p, else y of p\n" in deck("plan", "w.yaml").stdout


def test_a_first_run_goes_by_what_agents_that_do_the_same_took_in_other_workflows(deck: Deck) -> None:
    head = "agentdeck: 1\nname: {}\nagents:\n  same: {{ command: ['true'] }}\n  other: {{ command: [{}] }}\n"
    deck.write("one.yaml", head.format("one", "'true'"))
    deck.write("two.yaml", head.format("two", "'true', x") + "  later: { command: ['true'], needs: same }\n")
    assert deck("run", "one.yaml").returncode == 0
    agents = json.loads(deck("plan", "two.yaml", "--json").stdout)["agents"]
    assert {name: agent["source"] for name, agent in agents.items()} == {
        "same": "elsewhere",
        "other": "assumed",
        "later": "assumed",
    }
    assert 0.0 < agents["same"]["seconds"] < 60.0
    assert deck("run", "two.yaml").returncode == 0
    agents = json.loads(deck("plan", "two.yaml", "--json").stdout)["agents"]
    assert {agent["source"] for agent in agents.values()} == {"seen"}


def test_plan_shows_what_a_search_for_the_order_gains(deck: Deck) -> None:
    lines = [
        f"  {name}: {{ simulate: {{ takes: 1s }}, needs: [{', '.join(above)}] }}" for name, above in NEEDS.items()
    ]
    deck.write("w.yaml", "\n".join(["agentdeck: 1", "name: w", "agents:", *lines, ""]))
    plan = ("plan", "w.yaml", "--workers", 2, "--db", str(seen_store(deck.folder, samples())))
    found = "17.5 s as found by a search of 20ms, 22.0 s with the longest path first"
    assert f"order          {found}\n" in deck(*plan).stdout
    assert f"order          {found.replace('20ms', '100ms')}\n" in deck(*plan, "--search", "100ms").stdout
    planned = json.loads(deck(*plan, "--json").stdout)["order"]
    assert (planned["seconds"], planned["path_seconds"], sorted(planned["agents"])) == (
        17.5,
        22.0,
        list("abcdef"),
    )
    assert "\norder " not in deck(*plan, "--tasks", 2).stdout
    many = deck(*plan, "--tasks", 2, "--search", "1s").stdout
    assert "order          the longest path first: the tasks of a run start by age\n" in many
    wrong = deck(*plan, "--search", "5")
    assert (wrong.returncode, "--search: '5' is not a duration" in wrong.stderr) == (2, True)


def test_schemas_are_printed_by_name(deck: Deck) -> None:
    assert json.loads(deck("schema").stdout) == json.loads(deck("schema", "workflow").stdout)
    for name in ("deck", "summary", "event", "letter"):
        printed = json.loads(deck("schema", name).stdout)
        assert (printed["$schema"][:31], printed["title"]) == (
            "https://json-schema.org/draft/2",
            f"agentdeck {name}",
        )
    unknown = deck("schema", "sumary")
    assert unknown.returncode == 2
    assert "there is no schema sumary; did you mean summary? There are workflow, deck, summary," in unknown.stderr


def test_the_workers_of_a_deck_hold_and_a_workflow_may_have_fewer(deck: Deck) -> None:
    def workers(of_deck: str, of_workflow: str, *flags: object, **env: str) -> list[int]:
        deck.write("deck.yaml", f"agentdeck: 1\n{of_deck}\n")
        deck.write("w.yaml", f"agentdeck: 1\nname: w\n{of_workflow}\nagents: {{ a: {{ simulate: 1ms }} }}\n")
        planned = json.loads(deck("plan", "w.yaml", "--json", *flags, **env).stdout)["workers"]
        run = json.loads(deck("run", "w.yaml", "--json", *flags, **env).stdout)["run"]
        events = map(json.loads, deck("events", run, "--json").stdout.splitlines())
        return [planned, next(e["limits"]["workers"] for e in events if e["event"] == "run_started")]

    assert workers("", "") == [8, 8]
    assert workers("limits: { workers: 16 }", "") == [16, 16]
    assert workers("limits: { workers: 16 }", "limits: { workers: 3 }") == [3, 3]
    assert workers("limits: { workers: 2 }", "limits: { workers: 3 }") == [2, 2]
    assert workers("limits: { workers: 2 }", "", "--workers", 5) == [5, 5]
    assert workers("limits: { workers: 2 }", "", AGENTDECK_WORKERS="6") == [6, 6]


def test_settings_and_where_they_come_from(deck: Deck) -> None:
    deck.write(".agentdeck.toml", 'workers = 3\ndb = "project.db"\n')
    told = json.loads(deck("config", "--json").stdout)
    assert (told["db"]["value"], told["db"]["origin"]) == (str(deck.db), "env")
    assert (told["workers"]["value"], told["workers"]["origin"]) == (3, "project")
    told = json.loads(deck("config", "--json", "--workers", 5, "--db", "flag.db").stdout)
    assert (told["db"]["origin"], told["workers"]["origin"]) == ("flag", "flag")
    told = json.loads(deck("config", "--json", AGENTDECK_WORKERS="9", AGENTDECK_DB="").stdout)
    assert (told["workers"]["value"], told["workers"]["origin"]) == (9, "env")
    assert told["db"]["value"] == str(deck.folder / "project.db")
    deck.write(".agentdeck.toml", "worker = 3\n")
    done = deck("config")
    assert done.returncode == 2
    assert "did you mean workers?" in done.stderr


@pytest.mark.parametrize(
    ("text", "variables", "message"),
    [
        ("workers = 2.0", {}, ".agentdeck.toml: workers is a whole number, not 2.0"),
        ("workers = 0", {}, ".agentdeck.toml: workers=0 is out of range: 1 to 10000"),
        ("workers = ", {}, ".agentdeck.toml: Invalid value"),
        ("", {"AGENTDECK_WORKERS": "many"}, "AGENTDECK_WORKERS: workers is a whole number, not 'many'"),
        ("db = 5", {"AGENTDECK_DB": ""}, ".agentdeck.toml: db is the name of a file, not 5"),
        ("wrkers = 5", {}, "there is no setting wrkers; did you mean workers?"),
    ],
)
def test_a_bad_setting_is_named_with_its_place(
    deck: Deck, text: str, variables: dict[str, str], message: str
) -> None:
    deck.write(".agentdeck.toml", text)
    done = deck("config", **variables)
    assert done.returncode == 2
    assert message in done.stderr
    if "AGENTDECK_DB" not in variables:  # the variable is stronger: nothing of the file is needed
        assert deck("runs").stderr == "no runs yet\n"


def test_the_user_file(deck: Deck) -> None:
    (deck.folder / "config/agentdeck").mkdir(parents=True)
    deck.write("config/agentdeck/config.toml", "workers = 2\n")
    told = json.loads(deck("config", "--json").stdout)
    assert (told["workers"]["value"], told["workers"]["origin"]) == (2, "user")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(deck: Deck, shell: str) -> None:
    assert "_AGENTDECK_COMPLETE" in deck("completion", shell).stdout


def test_without_runs(deck: Deck) -> None:
    assert deck("runs", "--json").stdout == "[]\n"
    assert deck("runs").stdout == ""
    done = deck("show", "last")
    assert done.returncode == 2
    assert "no runs yet" in done.stderr
    assert not deck.db.exists()


def test_a_store_that_is_none(deck: Deck) -> None:
    deck.db.write_bytes(b"this is no database" * 1000)
    done = deck("runs")
    assert done.returncode == 3
    assert done.stderr.startswith("agentdeck: ")
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early(deck: Deck) -> None:
    process = subprocess.run(
        f"{sys.executable} -m agentdeck.cli.main schema | head -c 1",
        shell=True, capture_output=True, text=True, env=deck.env, cwd=deck.folder, check=False,
    )  # fmt: skip
    assert process.stderr == ""


BUDGETED = """
agentdeck: 1
name: budgeted
budget: { tokens: 300 }
agents: { a: { prompt: "Say something about ${task.n}.", max_output: 100 } }
"""


def test_a_run_parked_for_its_budget_goes_on_with_a_grant(deck: Deck) -> None:
    deck.write("w.yaml", BUDGETED)
    deck.write("t.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(40)))
    process = deck.start("run", "w.yaml", "--tasks", "t.jsonl", "--workers", "10", "--json", "--wait")
    until(lambda: '"paused"' in deck("runs", "--json").stdout)
    (row,) = json.loads(deck("runs", "--json").stdout)
    assert row["pause_reason"].startswith("budget of the run: ")
    assert "paused: budget" in deck("runs").stdout
    assert "tokens used" in deck("budget", "last").stdout
    assert "budget of the run: " in deck("show", "last").stdout
    assert deck("budget", "last", "much").returncode == 2
    assert "to add to" in deck("budget", "last", "+1").stderr
    granted = deck("budget", "last", "+100k", "--tokens")
    assert "budget.tokens = 100300" in granted.stdout
    out, _ = process.communicate(timeout=60)
    assert json.loads(out)["tasks"]["done"] == 40
    told = json.loads(deck("budget", "last", "--json").stdout)
    assert told["tokens"] == 100300
    assert told["held_tokens"] == 0
    assert 300 < told["used_tokens"] < 20_000


def test_a_burst_is_planned_shown_and_turned(deck: Deck) -> None:
    deck.write(
        "deck.yaml",
        "agentdeck: 1\nproviders: { p: { type: simulated, limits: { requests: { rate: 12/h, burst: 2 } } } }\n"
        "models: { m: { provider: p, id: m } }\ntiers: { execution: m }\n",
    )
    deck.write("w.yaml", "agentdeck: 1\nname: w\nagents: { a: { prompt: hello } }\n")
    deck.write("t.jsonl", '{"n": 1}\n' * 4)
    assert (
        "rates          at least 10m00s at p.requests 12/h burst 2\n"
        in deck("plan", "w.yaml", "--tasks", 4).stdout
    )
    planned = json.loads(deck("plan", "w.yaml", "--tasks", 4, "--json").stdout)
    assert (planned["request_bound_seconds"], planned["request_bound_limit"]) == (600.0, "p.requests")
    process = deck.start("run", "w.yaml", "--tasks", "t.jsonl", "--json", "--wait")
    until(lambda: deck.log().count("step_waited") == 2)
    assert json.loads(deck("limits", "last", "--json").stdout)["p.requests"] == "12/h burst 2"
    shown = deck("limits", "last").stdout
    assert "2/12 in the last 1h; 2 wait" in shown
    assert "waiting    2 steps: p: requests 12/h burst 2" in shown
    assert "p: requests 12/h burst 2, one every 5m00s" in deck("why", "last", "a", "--task", 4).stdout
    assert "a burst of 99 does not fit 12/h" in deck("limits", "last", "p.requests=12/h burst 99").stderr
    assert "requests and input_tokens only" in deck("limits", "last", "p.tokens=9k/h burst 99").stderr
    assert "p.requests = 80/min burst 3" in deck("limits", "last", "p.requests=80/min burst 3").stdout
    out, _ = process.communicate(timeout=60)
    assert json.loads(out)["state"] == "done"
    assert json.loads(out)["agents"]["a"]["waiting"]["pace"] > 0
    deck("limits", "save", "last")
    assert "80/min burst 3" in (deck.folder / "w.yaml").read_text()


def test_limits_of_providers_are_shown_and_turned(deck: Deck) -> None:
    deck.write(
        "deck.yaml",
        "agentdeck: 1\nproviders: { p: { type: simulated, limits: { requests: 1/h } } }\n"
        "models: { m: { provider: p, id: m } }\ntiers: { execution: m }\n",
    )
    deck.write("w.yaml", "agentdeck: 1\nname: w\nagents: { a: { prompt: hello } }\n")
    deck.write("t.jsonl", '{"n": 1}\n{"n": 2}\n')
    process = deck.start("run", "w.yaml", "--tasks", "t.jsonl", "--json", "--wait")
    until(lambda: "step_waited" in deck.log())
    assert json.loads(deck("limits", "last", "--json").stdout)["p.requests"] == "1/h"
    assert "1/1 in the last 1h; 1 wait" in deck("limits", "last").stdout
    assert "is not a rate" in deck("limits", "last", "p.requests=fast").stderr
    assert "p has no limit calls" in deck("limits", "last", "p.calls=3").stderr
    turned = deck("limits", "last", "p.requests=80/min")
    assert "p.requests = 80/min" in turned.stdout
    out, _ = process.communicate(timeout=60)
    assert json.loads(out)["state"] == "done"
    assert json.loads(out)["agents"]["a"]["waiting"]["requests"] > 0
    saved = deck("limits", "save", "last")
    assert "p.requests = 80/min" in saved.stdout
    assert "1/h of " in saved.stderr, "a workflow may tighten what the deck says, and no more"

"""What keeps a store small and safe: prune, backup; and limits written back into the file."""

from __future__ import annotations

import json
import sqlite3
import stat
import subprocess

from tests.cli.conftest import QUICK, Deck
from tests.waiting import until

LONG = """\
agentdeck: 1
name: long   # as life
limits: { workers: 2 }

agents:
  # the one
  one: { simulate: { takes: 20s }, timeout: 1m }   # slow
"""


def age(deck: Deck, run: str, days: float) -> None:
    with sqlite3.connect(deck.db) as connection:
        connection.execute(
            "UPDATE runs SET started = started - :age, ended = ended - :age WHERE run = :run",
            {"age": days * 86_400, "run": run},
        )


def ran(deck: Deck, times: int) -> list[str]:
    """The names of so many runs, oldest first."""
    file = deck.write("quick.yaml", QUICK)
    for n in range(times):
        deck("run", file, "-i", "word=" + f"w{n}" * 400)
    return [row["run"] for row in json.loads(deck("runs", "--json").stdout)][::-1]


def test_prune(deck: Deck) -> None:
    old, older, new = ran(deck, 3)
    age(deck, old, 40)
    age(deck, older, 50)
    dry = deck("prune", "--older", "30d", "--dry-run")
    assert [line.split()[0] for line in dry.stdout.splitlines()[1:3]] == [older, old]
    assert "2 runs (2 done)" in dry.stdout
    assert [
        one["run"] for one in json.loads(deck("prune", "--older", "45d", "--dry-run", "--json").stdout)["runs"]
    ] == [older]
    asked = deck("prune", "--older", "30d")
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert len(json.loads(deck("runs", "--json").stdout)) == 3, "nothing goes without a yes"
    done = deck("prune", "--older", "30d", "--keep", 2, "--yes")
    assert done.stdout.startswith("1 run deleted, with ")
    gone = json.loads(deck("prune", "--older", "30d", "--yes", "--json").stdout)
    assert (gone["runs"], gone["results"] > 0) == (1, True)
    assert [row["run"] for row in json.loads(deck("runs", "--json").stdout)] == [new]
    assert "0 runs deleted" in deck("prune", "--keep", 1).stdout
    for args in ((), ("--older", "soon"), ("--keep", "-1")):
        assert deck("prune", *args).returncode == 2


def test_what_came_through_stdin_goes_with_its_run(deck: Deck) -> None:
    file = deck.write("long.yaml", LONG)
    with deck.write("t.jsonl", "{}\n").open() as tasks:
        process = subprocess.Popen(
            deck.command(("run", file, "--tasks", "-")), stdin=tasks, env=deck.env, stderr=subprocess.DEVNULL
        )
    until(lambda: "running" in deck("runs").stdout)

    def kept() -> list[int]:
        with sqlite3.connect(deck.db) as db:
            return [
                db.execute(f"SELECT count(*) FROM {one}").fetchone()[0] for one in ("run_tasks", "task_blocks")
            ]

    assert kept() == [2, 1]
    process.kill()
    process.wait()
    assert "0 runs deleted" in deck("prune", "--keep", 0, "--yes").stdout, "it could be resumed"
    assert kept() == [2, 1]
    assert "1 run deleted" in deck("prune", "--older", "1ms", "--yes").stdout
    assert kept() == [0, 0]


def test_a_run_that_goes_on_is_not_pruned(deck: Deck) -> None:
    deck.start("run", deck.write("long.yaml", LONG))
    until(lambda: "running" in deck("runs").stdout)
    assert "0 runs deleted" in deck("prune", "--keep", 0, "--older", "1ms", "--yes").stdout
    assert "running" in deck("runs").stdout


def test_backup(deck: Deck) -> None:
    (first,) = ran(deck, 1)
    deck.start("run", deck.write("long.yaml", LONG))
    until(lambda: "running" in deck("runs").stdout)
    done = deck("backup", "copy.db")
    assert (done.returncode, done.stdout) == (0, "")
    assert "checked" in done.stderr
    copy = deck.folder / "copy.db"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert deck("show", first, "--db", "copy.db").returncode == 0
    again = deck("backup", "copy.db")
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert deck("backup", "copy.db", "--force").returncode == 0
    assert deck("backup", deck.db, "--force").returncode == 2, "never over the store itself"


def test_limits_are_saved(deck: Deck) -> None:
    file = deck.write("long.yaml", LONG)
    deck.start("run", file)
    until(lambda: "running" in deck("runs").stdout)
    assert "no limit was changed" in deck("limits", "save", "last").stderr
    assert deck("limits", "last", "workers=5", "agents.one.timeout=90s").returncode == 0
    done = deck("limits", "save", "last")
    assert done.stdout.splitlines() == [f"{file}: workers = 5", f"{file}: agents.one.timeout = 90s"]
    assert file.read_text() == LONG.replace("workers: 2", "workers: 5").replace("1m", "90s")
    assert deck("check", file).returncode == 0
    assert "already has these values" in deck("limits", "save", "last").stderr
    deck("limits", "last", "agents.one.attempts=4")
    assert deck("limits", "save", "last", "other.yaml").returncode == 0
    assert "retry: 4" in (deck.folder / "other.yaml").read_text()
    assert "retry" not in file.read_text()
    refused = deck("limits", "last", "workers=20000")
    assert refused.returncode == 1
    assert "out of range: 0 to 1" in refused.stderr

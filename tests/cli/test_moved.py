"""A workflow whose folder has moved since its run began."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.cli.conftest import Deck
from tests.waiting import until

MADE = """
import time
from agentdeck import Workflow
made = Workflow("made", output="${second}")

@made.agent
def first():
    time.sleep(1.5)
    return 20

@made.agent(retry=1)
def second(first):
    return int(open("FOLDER/add").read()) + first
""".replace('"FOLDER/add"', '__file__.replace("made.py", "add")')
LOCAL = """
agentdeck: 1
name: local
agents: { a: { command: [cat, add] } }
output: ${a}
"""


def folder(deck: Deck, text: str, name: str) -> Path:
    place = deck.folder / "old"
    place.mkdir()
    (place / name).write_text(text)
    return place


def test_letters_are_retried_in_the_new_folder(deck: Deck) -> None:
    old = folder(deck, LOCAL.replace("[cat, add]", "[cat, add], retry: 1"), "local.yaml")
    assert deck("run", "old/local.yaml").returncode == 1
    assert deck("run", "old/local.yaml").returncode == 1
    new = old.rename(deck.folder / "new")
    (new / "add").write_text("7")
    several = deck("letters", "retry", "--all", "--folder", "new")
    assert several.returncode == 2
    assert "--folder belongs to one run" in several.stderr
    assert deck("letters", "retry", 1, "--folder", "nowhere").returncode == 2
    done = deck("letters", "retry", 1, "--folder", "new", "--by", "Grace")
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    run = json.loads(deck("letters", "show", 1, "--json").stdout)["run"]
    assert f"the workflow was moved from {old} to {new}, by Grace (" in deck("events", run).stdout


def test_resume_in_the_new_folder(deck: Deck) -> None:
    old = folder(deck, MADE, "made.py")
    (old / "add").write_text("1")
    process = deck.start("run", "old/made.py")
    until(lambda: "step_started" in deck.log())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    new = old.rename(deck.folder / "new")
    lost = deck("resume", "last")
    assert lost.returncode == 2
    assert "--folder DIR" in lost.stderr
    assert deck("resume", "last", "--folder", "nowhere").returncode == 2
    assert "it does not contain made.py" in deck("resume", "last", "--folder", ".").stderr
    done = deck("resume", "last", "--folder", "new")
    assert (done.returncode, done.stdout) == (0, "21\n"), done.stderr
    noted = [e for line in deck("events", "last", "--json").stdout.splitlines()
             if (e := json.loads(line))["event"] == "noted"]  # fmt: skip
    assert [f"the workflow was moved from {old} to {new}" in one["text"] for one in noted] == [True]
    [row] = json.loads(deck("runs", "--json").stdout)
    assert row["state"] == "done"
    assert f"file       {new / 'made.py'}" in deck("show", "last").stdout


def test_retry_and_fork_in_the_new_folder(deck: Deck) -> None:
    old = folder(deck, LOCAL, "w.yaml")
    assert deck("run", "old/w.yaml").returncode == 1
    new = old.rename(deck.folder / "new")
    (new / "add").write_text("7")
    forked = deck("fork", "last", "--folder", "new")
    assert (forked.returncode, forked.stdout.strip()) == (0, "7"), forked.stderr
    first = json.loads(deck("runs", "--json").stdout)[-1]["run"]
    done = deck("retry", first, "--folder", "new")
    assert (done.returncode, done.stdout.strip()) == (0, "7"), done.stderr

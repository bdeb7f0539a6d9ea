"""`agentdeck step`: one step, headless."""

from __future__ import annotations

import json

from tests.cli.conftest import QUICK, Deck


def test_a_step_is_told_for_people_and_as_json(deck: Deck) -> None:
    file = deck.write("quick.yaml", QUICK)
    assert deck("run", file, "--input", "word=he\x1b[31my").returncode == 0
    shown = deck("step", "last", "1", "first")
    assert shown.returncode == 0, shown.stderr
    assert "first (simulate)  done" in shown.stdout
    assert "#1 done after" in shown.stdout
    assert "\x1b" not in shown.stdout
    told = json.loads(deck("step", "last", "1", "second", "--json").stdout)
    assert told["state"] == "done"
    assert told["output"] == 1
    assert told["inputs"]["first"]["n"] == 1
    assert [one["state"] for one in told["attempts"]] == ["done"]


def test_a_failed_command_shows_both_streams(deck: Deck) -> None:
    args = "[sh, -c, 'echo a.py:1 unused import; echo one problem >&2; exit 1']"
    text = f"agentdeck: 1\nname: lint\nagents:\n  lint: {{ retry: 1, command: {{ args: {args}, ok: [0] }} }}\n"
    file = deck.write("lint.yaml", text)
    assert deck("run", file).returncode == 1
    for shown in (deck("step", "last", "1", "lint").stdout, deck("letters", "show", "1").stdout):
        assert "exit: exited with 1: one problem" in shown
        assert "a.py:1 unused import" in shown
    file = deck.write("lint.yaml", text.replace("[0]", "[0, 1]"))
    assert deck("run", file).returncode == 0
    file = deck.write("lint.yaml", text.replace("[0]", "[0, 300]"))
    assert "300 is too large" in deck("check", file).stdout


def test_what_is_not_there_is_named(deck: Deck) -> None:
    file = deck.write("quick.yaml", QUICK)
    deck("run", file, "--input", "word=x")
    missing = deck("step", "last", "1", "secnd")
    assert missing.returncode == 2
    assert "did you mean second?" in missing.stderr
    short = deck("step", "last", "second")
    assert short.returncode == 2
    assert "TASK or STEP is missing: agentdeck step last" in short.stderr
    assert "no task 9" in deck("step", "last", "9", "first").stderr

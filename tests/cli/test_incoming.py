"""Tasks from a pipe: they run as they come, and nothing that was taken is lost."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable

import pytest

from tests.cli.conftest import Deck
from tests.waiting import until

ECHO = """
agentdeck: 1
name: echo
inputs: { n: integer }
agents:
  a: { simulate: { takes: 1ms, returns: "${inputs.n}" } }
"""


@pytest.fixture
def piped(deck: Deck) -> Callable[..., subprocess.Popen[str]]:
    """`agentdeck run` whose tasks come through a pipe that stays open."""

    def start(*args: str) -> subprocess.Popen[str]:
        deck.write("echo.yaml", ECHO)
        process = subprocess.Popen(
            deck.command(("run", "echo.yaml", "--tasks", "-", "--out", "out.jsonl", *args)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=deck.folder,
            env=deck.env,
        )  # fmt: skip
        deck.started.append(process)
        return process

    return start


def put(process: subprocess.Popen[str], *numbers: int, text: str = "") -> None:
    assert process.stdin is not None
    process.stdin.write("".join(f'{{"n": {number}}}\n' for number in numbers) + text)
    process.stdin.flush()


def lines(deck: Deck) -> list[int]:
    out = deck.folder / "out.jsonl"
    text = out.read_text() if out.exists() else ""
    whole = text[: text.rfind("\n") + 1]  # a write is seen page by page
    return sorted(json.loads(line)["output"] for line in whole.splitlines())


def kept(deck: Deck) -> int:
    """How many tasks of the run the store holds."""
    with sqlite3.connect(deck.db) as db:
        return int(db.execute("SELECT coalesce(sum(count), 0) FROM run_tasks").fetchone()[0])


def test_tasks_end_while_others_have_not_come_yet(
    deck: Deck, piped: Callable[..., subprocess.Popen[str]]
) -> None:
    process = piped("--json")
    for number in range(1, 4):
        put(process, number)
        until(lambda number=number: lines(deck) == list(range(1, number + 1)))  # type: ignore[misc]
    out, _ = process.communicate(timeout=60)
    assert json.loads(out)["tasks"] == {"total": 3, "done": 3, "failed": 0, "cancelled": 0, "never_started": 0}


def test_a_pipe_without_an_end_is_read_only_as_far_as_needed(
    deck: Deck, piped: Callable[..., subprocess.Popen[str]]
) -> None:
    deck.write("echo.yaml", ECHO)
    endless = subprocess.Popen(["yes", '{"n": 7}'], stdout=subprocess.PIPE)
    process = subprocess.Popen(
        deck.command(("run", "echo.yaml", "--tasks", "-", "--out", "out.jsonl")),
        stdin=endless.stdout, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=deck.folder,
        env=deck.env,
    )  # fmt: skip
    deck.started.append(process)
    try:
        until(lambda: len(lines(deck)) > 50)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        endless.kill()
        endless.communicate()
    assert process.returncode == 130, err
    ended = len(lines(deck))
    taken = kept(deck)
    assert ended <= taken <= ended + 2 * 65536 // len('{"n": 7}\n') + 1000
    told = json.loads(deck("resume", "last", "--json").stdout)
    assert (told["state"], told["tasks"]["total"]) == ("done", taken)


def test_a_bad_line_in_the_middle_ends_what_runs_and_is_told(
    deck: Deck, piped: Callable[..., subprocess.Popen[str]]
) -> None:
    process = piped("--json")
    put(process, 1, 2)
    until(lambda: lines(deck) == [1, 2])
    put(process, 3, text="nope\n")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert "stdin:4: not JSON" in err
    [row] = json.loads(deck("runs", "--json").stdout)
    assert f"what has ended is recorded; to continue: agentdeck resume {row['run']}" in err
    told = json.loads(deck("resume", "last", "--json").stdout)
    assert (told["state"], told["tasks"]["total"], told["tasks"]["done"]) == ("done", 3, 3)


def test_a_bad_line_in_the_middle_may_be_left_out(
    deck: Deck, piped: Callable[..., subprocess.Popen[str]]
) -> None:
    process = piped("--json", "--skip-bad")
    put(process, 1)
    until(lambda: lines(deck) == [1])
    put(process, text='nope\n{"m": 3}\n{"n": 2}')
    out, err = process.communicate(timeout=60)
    assert json.loads(out)["tasks"]["total"] == 2
    assert "stdin: 2 bad lines left out" in err


def test_killed_while_more_was_to_come(deck: Deck, piped: Callable[..., subprocess.Popen[str]]) -> None:
    process = piped()
    put(process, 1, 2, 3)
    until(lambda: '"done": 3' in deck("show", "last", "--json").stdout)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    told = json.loads(deck("resume", "last", "--json").stdout)
    assert (told["state"], told["tasks"]["total"], told["agents"]["a"]["attempts"]) == ("done", 3, 3)


@pytest.mark.parametrize(
    ("stdin", "told"),
    [
        ("", "stdin has no tasks"),
        ("\n \n", "stdin has no tasks"),
        ('{"n": 1}\nnope\n', "stdin:2: not JSON"),
        ('{"n": "1"}', "stdin:1: n is '1', not an integer"),
        ("x" * 17_000_000, "stdin:1: a line of more than 16 MB is too long for a task"),
    ],
    ids=["empty", "blank", "not JSON", "does not fit", "too long"],
)
def test_what_is_bad_at_once_starts_nothing_and_leaves_nothing(deck: Deck, stdin: str, told: str) -> None:
    deck.write("echo.yaml", ECHO)
    done = deck("run", "echo.yaml", "--tasks", "-", stdin=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert not deck.db.exists()


def test_a_file_as_stdin_is_looked_at_whole_before_anything_starts(deck: Deck) -> None:
    deck.write("echo.yaml", ECHO)
    for content, code in (("".join(f'{{"n": {n}}}\n' for n in range(30)) + "nope\n", 2), ('{"n": 1}\n' * 30, 0)):
        file = deck.write("t.jsonl", content)
        with file.open() as stdin:
            done = subprocess.run(
                deck.command(("run", "echo.yaml", "--tasks", "-", "--json")), stdin=stdin, capture_output=True,
                text=True, cwd=deck.folder, env=deck.env, check=False,
            )  # fmt: skip
        assert done.returncode == code
        assert ("stdin:31: not JSON" in done.stderr) == bool(code)
        assert deck.db.exists() == (not code)
    assert "50 %: 15 of 30 tasks" in done.stderr

"""`--out`: each task once, in its final state, whatever happened to the run and to the disk."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentdeck.engine.observers import EventBatch
from agentdeck.operations.out_file import OutFile
from agentdeck.scheduler import events as ev
from tests.cli.conftest import Deck
from tests.waiting import until

WORK = """
agentdeck: 1
name: work
inputs: { n: integer, even: { type: boolean, default: false } }
agents:
  first: { command: [test, -e, "${'/' if inputs.n % 2 or inputs.even else '/missing'}"] }
  second: { needs: first, simulate: { takes: 60ms, returns: "${inputs.n}" } }
output: ${second}
"""


def tasks(deck: Deck, number: int) -> Path:
    deck.write("work.yaml", WORK)
    return deck.write("t.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(1, number + 1)))


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def states(file: Path) -> list[tuple[str, str]]:
    return [(line["task"], line["state"]) for line in lines(file)]


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_task_is_written_with_the_batch_that_has_its_end(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    out = OutFile(str(file), tmp_path / "deck.db", print)
    out.observe(EventBatch("r", 1, [ev.TaskOpened(0.0, str(n), {"n": n}) for n in (1, 2, 3)]))
    assert file.read_text() == ""
    out.observe(EventBatch("r", 4, [ev.TaskEnded(1.0, str(n), "done", n) for n in (1, 2)]))
    assert [json.loads(line)["task"] for line in file.read_text().splitlines()] == ["1", "2"]
    out.close()
    out.observe(EventBatch("r", 6, [ev.TaskEnded(1.0, "3", "done", 3)]))
    assert len(file.read_text().splitlines()) == 2


def test_retries_replace_the_lines_of_their_tasks(deck: Deck) -> None:
    file = deck.folder / "done.jsonl"
    assert deck("run", "work.yaml", "--tasks", tasks(deck, 6), "--out", file, "--workers", 3).returncode == 1
    expected = [(str(n), "done" if n % 2 else "failed") for n in range(1, 7)]
    assert states(file) == expected  # in the order of the tasks, not in that of their ends
    assert mode(file) == 0o600
    assert deck("letters", "retry", 1, "--set", "inputs.even=true", "--out", file).returncode == 0
    assert [line["state"] for line in lines(file)].count("failed") == 2
    mended = [line for line in lines(file) if line["inputs"]["even"]]
    assert [line["state"] for line in mended] == ["done"]
    assert deck("retry", "last", "--set", "inputs.even=true", "--out", file).returncode == 0
    assert states(file) == [(str(n), "done") for n in range(1, 7)]
    assert [line["output"] for line in lines(file)] == [1, 2, 3, 4, 5, 6]
    printed = deck("results", "last").stdout
    assert printed == file.read_text()


def test_resume_completes_what_a_killed_process_left(deck: Deck) -> None:
    file = deck.folder / "done.jsonl"
    process = deck.start("run", "work.yaml", "--tasks", tasks(deck, 30), "--out", file, "--workers", 2)
    until(lambda: file.exists() and len(file.read_bytes().splitlines()) > 4)
    process.send_signal(signal.SIGKILL)
    process.wait()
    other = deck.folder / "other.jsonl"
    assert deck("resume", "last", "--out", other).returncode == 1
    assert states(other) == [(str(n), "done" if n % 2 else "failed") for n in range(1, 31)]
    assert mode(other) == 0o600


def test_a_fork_writes_what_it_shares_too(deck: Deck) -> None:
    file = deck.folder / "fork.jsonl"
    assert deck("run", "work.yaml", "--tasks", tasks(deck, 4)).returncode == 1
    assert deck("fork", "last", "--set", "inputs.even=true", "--out", file).returncode == 0
    assert states(file) == [(str(n), "done") for n in range(1, 5)]


def test_an_operators_file_keeps_its_mode_and_its_place(deck: Deck) -> None:
    target = deck.write("target.jsonl", "old\n")
    target.chmod(0o640)
    link = deck.folder / "link.jsonl"
    link.symlink_to(target)
    assert deck("run", "work.yaml", "--tasks", tasks(deck, 1), "--out", link).returncode == 0
    assert (link.is_symlink(), states(target), mode(target)) == (True, [("1", "done")], 0o640)


def test_what_is_no_regular_file_is_appended_to(deck: Deck) -> None:
    command = f"{sys.executable} -m agentdeck run work.yaml --tasks {tasks(deck, 3)} --out /dev/stdout | cat"
    done = subprocess.run(
        ["bash", "-c", command], cwd=deck.folder, env=deck.env, capture_output=True, text=True, timeout=60
    )
    found = [json.loads(line)["task"] for line in done.stdout.splitlines()]
    assert sorted(found) == ["1", "2", "3"], done.stderr
    full = deck("run", "work.yaml", "--tasks", tasks(deck, 3), "--out", "/dev/full")
    assert full.returncode == 3
    assert "/dev/full: No space left on device; the run continues; its results are in the store" in full.stderr
    assert "2 tasks done, 1 failed" in full.stderr
    assert deck("results", "last", "--out", "/nowhere/x").returncode == 3
    assert deck("results", "last", "--out", "late.jsonl").returncode == 0
    assert len(states(deck.folder / "late.jsonl")) == 3


def test_results_are_written_to_a_pipe_that_stays_one(deck: Deck) -> None:
    """As root, a device that is replaced is taken from every process of the machine."""
    assert deck("run", "work.yaml", "--tasks", tasks(deck, 3), "--out", "o.jsonl").returncode == 1
    pipe = deck.folder / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        done = deck("results", "last", "--out", pipe)
        if not pipe.is_fifo():
            reader.kill()
        text, _ = reader.communicate(timeout=60)
    assert done.returncode == 0, done.stderr
    assert pipe.is_fifo()
    assert text == (deck.folder / "o.jsonl").read_text()


@pytest.mark.parametrize("name", ["t.jsonl", "work.yaml", "deck.db"])
def test_a_file_that_is_read_is_not_written(deck: Deck, name: str) -> None:
    given = tasks(deck, 3)
    assert deck("run", "work.yaml", "--tasks", given).returncode == 1
    before = (deck.folder / name).read_bytes()
    again = deck("run", "work.yaml", "--tasks", given, "--out", name)
    assert again.returncode == 2
    assert "which would be overwritten" in again.stderr
    assert (deck.folder / name).read_bytes() == before
    if name == "deck.db":
        assert deck("results", "last", "--out", name).returncode == 2
        assert deck("retry", "last", "--out", name).returncode == 2
    assert len(json.loads(deck("runs", "--json").stdout)) == 1


def test_a_disk_that_is_full_leaves_whole_lines(deck: Deck) -> None:
    """The file is on a disk of its own, of 16 kB."""
    (deck.folder / "small").mkdir()
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no namespaces here to make a small disk in")
    given = deck.write("t.jsonl", "".join(f'{{"n": 1, "text": "{"x" * 300}"}}\n' for _ in range(120)))
    deck.write("work.yaml", WORK.replace("n: integer,", "n: integer, text: string,"))
    script = (
        f"mount -t tmpfs -o size=16k none small && {sys.executable} -m agentdeck run work.yaml --tasks {given}"
        " --out small/done.jsonl --workers 4; echo code $?; ls -A small; cat small/done.jsonl"
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=deck.folder, env=deck.env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    code, name, *left = done.stdout.splitlines()
    assert (code, name) == ("code 3", "done.jsonl"), done.stderr
    assert "small/done.jsonl: No space left on device; the run continues" in done.stderr
    assert "120 tasks done" in done.stderr
    assert 0 < len([json.loads(line) for line in left]) < 120
    hint = done.stderr.partition("write them with: agentdeck ")[2].splitlines()[0]
    assert deck(*hint.replace("small/done.jsonl", "late.jsonl").split()).returncode == 0
    assert len(states(deck.folder / "late.jsonl")) == 120


def test_a_run_of_another_process_is_refused(deck: Deck) -> None:
    deck.write("waits.yaml", 'agentdeck: 1\nname: waits\nagents: { gate: { approve: { ask: "?" } } }\n')
    deck.start("run", "waits.yaml", "--wait")
    until(lambda: "gate" in deck.log())
    assert deck("pause", "last").returncode == 0
    done = deck("resume", "last", "--out", "x.jsonl")
    assert done.returncode == 2
    assert "agentdeck results" in done.stderr

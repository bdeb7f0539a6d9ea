"""Closed and full streams, a damaged store, Ctrl-C at any moment: a sentence and an exit code."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.cli.conftest import QUICK, SLOW, Deck

AGENTDECK = f"{sys.executable} -m agentdeck"


def shell(deck: Deck, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=deck.folder,
        env=deck.env,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("verb", "where", "code", "told"),
    [
        ("run quick.yaml -i word=x", ">&-", 3, "stdout: it is closed"),
        ("run quick.yaml -i word=x --json", "> /dev/full", 3, "stdout: No space left on device"),
        ("run quick.yaml -i word=x", "2>&-", 0, ""),
        ("run quick.yaml -i word=x", "2> /dev/full", 0, ""),
        ("run quick.yaml -i word=x", "<&- >&- 2>&-", 3, ""),
        ("runs", "<&- >&-", 3, "stdout: it is closed"),
        ("events last", "> /dev/full", 3, "stdout: No space left on device"),
        ("--help", "> /dev/full", 3, "stdout: No space left on device"),
        ("", ">&-", 2, "the console needs a terminal"),
        ("", "<&-", 2, "the console needs a terminal"),
        ("nope", "2>&-", 2, ""),
    ],
)
def test_a_stream_that_cannot_be_written(deck: Deck, verb: str, where: str, code: int, told: str) -> None:
    deck.write("quick.yaml", QUICK)
    if verb in ("runs", "events last"):
        assert deck("run", "quick.yaml", "-i", "word=x").returncode == 0
    done = shell(deck, f"{AGENTDECK} {verb} {where}")
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "bug" not in done.stderr
    assert "Traceback" not in done.stderr
    if verb.startswith("run "):  # the run itself is done, whatever could be printed
        assert [row["state"] for row in json.loads(deck("runs", "--json").stdout)] == ["done"]


def test_a_reader_that_leaves(deck: Deck) -> None:
    deck.write("quick.yaml", QUICK)
    tasks = deck.write("t.jsonl", '{"word": "x"}\n' * 300)
    assert deck("run", "quick.yaml", "--tasks", tasks, "--workers", "50").returncode == 0
    done = shell(deck, f"{AGENTDECK} events last | head -1")
    assert (done.returncode, len(done.stdout.splitlines())) == (141, 1)
    assert done.stderr == ""


@pytest.mark.parametrize("verb", [("prune", "--keep", "0", "--yes"), ("prune", "--older", "1d", "--dry-run")])
def test_a_damaged_store_is_an_error_of_the_store(deck: Deck, verb: tuple[str, ...]) -> None:
    deck.write("quick.yaml", QUICK)
    assert deck("run", "quick.yaml", "-i", "word=x").returncode == 0
    connection = sqlite3.connect(deck.db)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    data, noise = bytearray(deck.db.read_bytes()), random.Random(7)
    for page in range(4096, len(data), 4096):  # the first page, with the schema, is whole
        data[page : page + 64] = noise.randbytes(64)
    for file in deck.folder.glob("deck.db*"):
        file.unlink()
    deck.db.write_bytes(data)
    done = deck(*verb)
    assert done.returncode == 3, done.stderr
    assert "the database is damaged" in done.stderr


def test_little_is_imported_before_interrupts_are_handled() -> None:
    code = "import sys; before = set(sys.modules); import agentdeck.__main__; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert set(done.stdout.split()) <= {"agentdeck", "agentdeck.__main__", "__future__", "_signal"}


def test_an_interrupt_at_any_moment(deck: Deck) -> None:
    """Before the interpreter has come to the command line, the traceback is Python's own. SIGINT may be ignored
    where the tests run (a job in the background of a shell), and a child would inherit that."""
    deck.write("slow.yaml", SLOW)
    command = [sys.executable, "-m", "agentdeck", "run", "slow.yaml"]
    ended = []
    for number in range(12):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=deck.folder,
            env={**deck.env, "AGENTDECK_DB": str(deck.folder / f"{number}.db")},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        deck.started.append(process)
        time.sleep(number * 0.06)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
        if "Traceback" in said or process.returncode != 130:
            assert process.returncode in (-signal.SIGINT, 1, 130), said
            assert not _reached_main(said), said
        else:
            ended.append(said)
    assert ended


def _reached_main(said: str) -> bool:
    return "agentdeck/cli" in said or "bug" in said or "started" in said

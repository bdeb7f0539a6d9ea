"""Many processes, one file: nobody is ever told that the database is locked, and the WAL stays small."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from agentdeck.store.runs import create_run
from agentdeck.store.writer import Writer
from tests.store.samples import new_run
from tests.waiting import until

WRITES = """
import sys, time
from pathlib import Path
import agentdeck.store.writer
from agentdeck.scheduler.events import Author
from agentdeck.store.commands import put_command
from agentdeck.store.runs import create_run
from agentdeck.store.writer import Writer
from tests.store.samples import new_run, order
path, name, end = Path(sys.argv[1]), sys.argv[2], time.monotonic() + float(sys.argv[3])
faults, done, seq = [], 0, 1
agentdeck.store.writer.LOCKED = 60.0  # a machine that is busy is no fault
while time.monotonic() < end:
    writer = Writer(path, on_fault=faults.append)  # opened anew and anew, as by verbs that ask for something
    if not done:
        writer.call(lambda db: create_run(db, new_run(name))).result(20)
    for _ in range(20):
        writer.append(name, seq, order(done))
        writer.call(lambda db: put_command(db, name, "pause", {}, Author("ada"), 1.0)).result(20)
        seq, done = seq + 12, done + 1
    writer.close()
assert not faults, faults
print(done)
"""
READS = """
import sys, time
from pathlib import Path
from agentdeck.store.reader import Reader
path, end, done = Path(sys.argv[1]), time.monotonic() + float(sys.argv[3]), 0
while time.monotonic() < end:
    reader = Reader(path)
    for row in reader.runs():
        seqs = [seq for seq, _ in reader.events(row.run, max(0, reader.last_seq(row.run) - 500))]
        assert seqs == sorted(seqs)
        reader.commands(row.run)
        done += 1
    reader.close()
print(done)
"""


def start(code: str, path: Path, name: str, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path), name, str(seconds)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def test_ten_writers_and_readers_at_once(tmp_path: Path) -> None:
    path = tmp_path / "deck.db"
    all_ = [start(WRITES, path, f"w{n}", 3.0) for n in range(5)] + [start(READS, path, "", 3.0) for _ in range(5)]
    for process in all_:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert int(out) > 0
    reader = Reader(path)
    assert len(reader.runs()) == 5
    for row in reader.runs():
        assert reader.last_seq(row.run) % 240 == 0, "whole batches, without a gap"
        assert len(list(reader.events(row.run))) == reader.last_seq(row.run)


SLOWLY = """
import sys, time
from pathlib import Path
from agentdeck.store.reader import Reader
reader = Reader(Path(sys.argv[1]))
for seq, event in reader.events(sys.argv[2]):
    if seq % 100 == 1:
        print(seq, flush=True)
        time.sleep(0.05)
"""


@pytest.mark.untraced
def test_the_wal_stays_small_beside_a_slow_reader(tmp_path: Path) -> None:
    """The reader takes seconds for what the writer has long been past; the WAL goes round meanwhile."""
    path, wal = tmp_path / "deck.db", tmp_path / "deck.db-wal"
    writer = Writer(path)
    writer.call(lambda db: create_run(db, new_run("r"))).result(5)
    count, most, written = 1, 0, 0
    slow: subprocess.Popen[str] | None = None
    try:
        for batch in range(60):
            texts = (f"{count + n:08}" * 500 for n in range(500))
            events: list[ev.Event] = [ev.StepSucceeded(1.0, "1", "s", 1, {"text": text}) for text in texts]
            writer.append("r", count, events)
            writer.flush(20)
            count, written = count + 500, written + 500 * 4000
            most = max(most, wal.stat().st_size)
            if batch == 15:
                slow = start(SLOWLY, path, "r", 0)
                assert slow.stdout is not None
                assert slow.stdout.readline() == "1\n"
        assert written > 100_000_000
        assert slow is not None
        assert slow.poll() is None, "it still reads"
        assert most < 50_000_000
        until(lambda: wal.stat().st_size == 0)  # once idle, it is cut though the reader is there
        assert slow.poll() is None
    finally:
        if slow is not None:
            slow.kill()
            slow.communicate()
        writer.close()

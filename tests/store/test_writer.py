"""What the writer promises: order, durability, and that nothing is lost while something is wrong."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentdeck.errors import StoreError
from agentdeck.scheduler.events import Event, Noted, TaskOpened
from agentdeck.store.reader import Reader
from agentdeck.store.runs import create_run
from agentdeck.store.schema import VERSION, open_for_writing
from agentdeck.store.sqlite_errors import RunTaken, StoreBroken
from agentdeck.store.writer import Writer
from tests.store.samples import new_run, order
from tests.waiting import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "er" / "agentdeck.db"


def test_what_is_written_can_be_read(path: Path) -> None:
    writer = Writer(path)
    events = [event for task in range(50) for event in order(task)]
    for first in range(0, len(events), 7):
        writer.append("r", 1 + first, events[first : first + 7])
    writer.log("r", [(1.0, "t1", "notes[0]", 1, "info", "hi"), (2.0, "t1", "other", 1, "info", "bad \udcff")])
    writer.close()
    reader = Reader(path)
    assert list(reader.events("r")) == list(enumerate(events, 1))
    assert [seq for seq, _ in reader.events("r", after=100, limit=5)] == [101, 102, 103, 104, 105]
    assert [line.text for line in reader.logs("r", agent="notes")] == ["hi"]
    assert [line.text for line in reader.logs("r", tail=1)] == ["bad \\udcff"]
    assert reader.last_seq("r") == len(events)
    raw = list(reader.raw_events("r"))
    assert raw[0] == {"seq": 1, "at": events[0].at, "event": "task_opened", "run": "r", "task": "t0"} | {
        "inputs": {"id": 0}
    }
    large = next(row for row in raw if row["event"] == "step_succeeded" and row["task"] == "t6")
    assert large["output"] == {"ok": True, "text": "x" * 600}


def test_large_results_are_committed_in_parts_and_count_in_the_backlog(path: Path) -> None:
    reported: list[int] = []
    writer = Writer(path, lambda run, seq: reported.append(seq))
    release = threading.Event()
    blocked = writer.call(lambda connection: release.wait(10))
    for task in range(40):
        writer.append("r", 1 + task, [TaskOpened(1.0, str(task), {"text": str(task) * 1_000_000})])
    assert writer.backlog > 40_000_000 / 512
    release.set()
    blocked.result(10)
    writer.flush(30)
    assert writer.backlog == 0
    assert max(after - before for before, after in zip([0, *reported], reported, strict=False)) <= 5
    wal = path.with_name(path.name + "-wal")
    assert wal.stat().st_size <= 40_000_000
    writer.close()
    assert Reader(path).last_seq("r") == 40


def test_what_is_reported_committed_is_readable_and_rises(path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    readers: list[Reader] = []

    def on_commit(run: str, seq: int) -> None:
        told.append((run, seq, readers[0].last_seq(run)))

    writer = Writer(path, on_commit)
    readers.append(Reader(path))
    for task in range(300):
        for run in ("a", "b"):
            writer.append(run, 1 + 12 * task, order(task))
        if task % 50 == 0:
            writer.flush(20)
    writer.close()
    for run in ("a", "b"):
        seqs = [seq for of, seq, _ in told if of == run]
        assert seqs == sorted(set(seqs))
        assert seqs[-1] == 3600
    assert all(seq == on_disk for _, seq, on_disk in told)
    assert len(told) < 600, "commits were not gathered"
    assert writer.backlog == 0


def test_calls_stand_in_order_with_events(path: Path) -> None:
    writer = Writer(path)

    def seen(connection: sqlite3.Connection) -> int:
        count: int = connection.execute("SELECT count(*) FROM events").fetchone()[0]
        return count

    futures = []
    for task in range(20):
        futures.append(writer.call(seen))
        writer.append("r", 1 + 12 * task, order(task))
    assert [future.result(10) for future in futures] == [12 * task for task in range(20)]
    writer.close()


def test_a_call_that_raises_takes_only_itself_back(path: Path) -> None:
    writer = Writer(path)

    def bad(connection: sqlite3.Connection) -> None:
        create_run(connection, new_run("half"))
        raise KeyError("mine")

    writer.append("r", 1, order(1))
    future = writer.call(bad)
    writer.append("r", 13, order(2))
    twice = [writer.call(lambda c: create_run(c, new_run("whole"))) for _ in range(2)]
    with pytest.raises(KeyError, match="mine"):
        future.result(10)
    with pytest.raises(sqlite3.IntegrityError):
        twice[1].result(10)
    writer.close()
    reader = Reader(path)
    assert reader.last_seq("r") == 24
    assert [row.run for row in reader.runs()] == ["whole"]


def test_a_gap_is_refused_at_the_door(path: Path) -> None:
    writer = Writer(path)
    writer.append("r", 1, order(1))
    with pytest.raises(ValueError, match="event 14 handed over where 13 is next"):
        writer.append("r", 14, order(2))
    writer.close()
    with pytest.raises(StoreError, match="closed"):
        writer.append("r", 13, order(2))


def test_log_lines_alone_arrive_soon(path: Path) -> None:
    writer = Writer(path)
    writer.log("r", [(1.0, "", "", 0, "info", "hello")])
    reader = Reader(path)
    until(lambda: reader.logs("r"), 2.0)
    writer.close()


def test_only_the_owner_can_read_the_files(path: Path) -> None:
    old = os.umask(0)
    try:
        writer = Writer(path)
        writer.append("r", 1, order(1))
        writer.flush()
    finally:
        os.umask(old)
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["agentdeck.db", "agentdeck.db-shm", "agentdeck.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    writer.close()
    path.chmod(0o644)
    Writer(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_settings_that_durability_needs(path: Path) -> None:
    writer = Writer(path)

    def ask(connection: sqlite3.Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "user_version")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert writer.call(ask).result(10) == ["wal", 2, VERSION]
    writer.close()


def test_the_wal_is_cut_when_idle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentdeck.store.writer.IDLE", 0.05)
    writer = Writer(path)
    reader = Reader(path)
    for task in range(200):
        writer.append("r", 1 + 12 * task, order(task))
    writer.flush()
    assert len(list(reader.events("r"))) == 2400
    until(lambda: path.with_name(path.name + "-wal").stat().st_size == 0)
    writer.close()


# Kill -9 ---------------------------------------------------------------------------------------------------

WRITE = """
import sys
import tempfile
from pathlib import Path
from agentdeck.store.writer import Writer
from tests.store.samples import order
writer = Writer(Path(sys.argv[1]), lambda run, seq: print(seq, flush=True))
first = 1
for task in range(10**9):
    events = order(task)
    writer.append("r", first, events)
    first += len(events)
    while writer.backlog > 2000:
        pass
"""


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_leaves_a_prefix_with_all_that_was_reported(path: Path, seed: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITE, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(random.Random(seed).uniform(0.0, 0.4))
    os.kill(process.pid, signal.SIGKILL)
    told = [int(line) for line in process.stdout.read().split("\n")[:-1] if line]
    process.wait()
    process.stdout.close()
    reader = Reader(path)
    found = list(reader.events("r"))
    assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
    assert len(found) >= max(told, default=1)
    expected = [event for task in range(len(found) // 12 + 1) for event in order(task)]
    assert [event for _, event in found] == expected[: len(found)]
    reader.close()
    connection = open_for_writing(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    writer = Writer(path)  # and it goes on
    writer.append("r", len(found) + 1, order(1))
    writer.close()


# What can be wrong with the file -----------------------------------------------------------------------------


def test_a_newer_schema_is_refused(path: Path) -> None:
    Writer(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    message = (
        rf"written by a newer agentdeck \(schema {VERSION + 1}, this one knows {VERSION}\); update agentdeck"
    )
    for opened in (Writer, Reader):
        with pytest.raises(StoreError, match=message):
            opened(path)


def test_what_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is a text, and long enough to be read as a header of a database" * 40)
    for opened in (Writer, Reader):
        with pytest.raises(StoreError, match=r"agentdeck.db: this is not a database"):
            opened(path)


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir(parents=True)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    for opened in (Writer, Reader):
        with pytest.raises(StoreError, match="another program"):
            opened(path)
    assert path.read_bytes() == before


def test_a_folder_or_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="choose another file"):
        Writer(tmp_path / "file" / "agentdeck.db")
    for opened in (Writer, Reader):
        with pytest.raises(StoreError):
            opened(tmp_path)


def test_a_damaged_page_ends_the_writer_and_says_so(path: Path) -> None:
    writer = Writer(path)
    for task in range(500):
        writer.append("r", 1 + 12 * task, order(task))
    writer.close()
    raw = bytearray(path.read_bytes())
    for page in range(60, len(raw) // 4096):
        raw[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    path.write_bytes(raw)
    faults: list[StoreError | None] = []
    writer = Writer(path, None, faults.append)
    writer.append("r", 6001, order(1))
    with pytest.raises(StoreError, match=r"agentdeck.db: the database is damaged .* restore a backup"):
        writer.flush(10)
    until(lambda: faults)
    assert isinstance(faults[0], StoreBroken)
    with pytest.raises(StoreError, match="damaged"):
        writer.append("r", 6013, order(1))
    with pytest.raises(StoreError, match="could not be written"):
        writer.close()
    with pytest.raises(StoreError, match="damaged"):
        list(Reader(path).events("r"))


#: pathlib imports urllib when it first needs it, and this user may not be able to read the interpreter.
OPEN = """
import os, sys, urllib.parse
from pathlib import Path
from agentdeck.errors import StoreError
from agentdeck.store.writer import Writer
from agentdeck.store.reader import Reader
if os.geteuid() == 0:  # root may write everything
    os.setuid(65534)
print(len(list(Reader(Path(sys.argv[1])).events("r"))))
try:
    Writer(Path(sys.argv[1]))
except StoreError as error:
    print(error)
"""


def test_a_read_only_file_can_be_read_and_says_what_to_do() -> None:

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agentdeck.db"
        writer = Writer(path)
        writer.append("r", 1, order(1))
        writer.close()
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        run = [sys.executable, "-c", OPEN, str(path)]
        done = subprocess.run(run, capture_output=True, text=True, check=False)
        Path(folder).chmod(0o700)
    assert done.stdout.splitlines()[0] == "12", done.stderr
    assert "read-only; make both writable" in done.stdout


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_waited_for(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_450_000)
    faults: list[StoreError | None] = []
    path = small_disk / "agentdeck.db"
    writer = Writer(path, None, faults.append)
    for task in range(400):
        writer.append("r", 1 + 12 * task, order(task))
    until(lambda: faults)
    assert "agentdeck.db: the disk is full; free some space" in str(faults[0])
    assert not isinstance(faults[0], StoreBroken)
    assert writer.backlog > 0
    with pytest.raises(StoreError, match="disk is full"):
        writer.flush(0.1)
    ballast.unlink()
    writer.flush(10)
    assert faults[-1] is None
    assert writer.fault is None
    writer.close()
    expected = [event for task in range(400) for event in order(task)]
    assert [event for _, event in Reader(path).events("r")] == expected


def limited(path: Path, faults: list[StoreError | None]) -> Writer:
    """A writer whose file may not grow: SQLite then says the same as on a full disk."""
    writer = Writer(path, None, faults.append)
    writer.call(lambda c: c.execute("PRAGMA max_page_count = 40").fetchall()).result(10)
    return writer


def test_a_file_that_may_not_grow_is_waited_for(path: Path) -> None:
    faults: list[StoreError | None] = []
    writer = limited(path, faults)
    for task in range(400):
        writer.append("r", 1 + 12 * task, order(task))
    call = writer.call(lambda c: create_run(c, new_run("late")))
    until(lambda: faults)
    assert "the disk is full" in str(faults[0])
    assert not call.done()
    assert writer.backlog > 0
    writer._connection.execute("PRAGMA max_page_count = 100000").fetchall()
    call.result(10)
    writer.close()
    assert faults[-1] is None
    assert Reader(path).last_seq("r") == 4800


def test_close_does_not_wait_for_ever(path: Path) -> None:
    writer = limited(path, [])
    for task in range(400):
        writer.append("r", 1 + 12 * task, order(task))
    with pytest.raises(StoreError, match=r"\d+ records could not be written: .*disk is full"):
        writer.close(1.0)


def test_a_lock_held_for_too_long_is_told_and_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentdeck.store.writer.LOCKED", 0.2)
    faults: list[StoreError | None] = []
    writer = Writer(path, None, faults.append)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer.append("r", 1, order(1))
    until(lambda: faults)
    assert "another process holds the lock" in str(faults[0])
    other.execute("ROLLBACK")
    writer.close()
    assert faults[-1] is None
    assert Reader(path).last_seq("r") == 12


# Many at once --------------------------------------------------------------------------------------------------


def test_two_that_write_the_same_run_one_is_told(path: Path) -> None:
    faults: list[StoreError | None] = []
    first, second = Writer(path), Writer(path, None, faults.append)
    first.append("r", 1, order(1))
    first.flush()
    second.append("r", 1, order(2))
    second.append("other", 1, order(3))
    second.flush()
    assert isinstance(faults[0], RunTaken)
    assert faults[0].run == "r"
    second.append("r", 13, order(2))
    second.append("other", 13, order(3))
    second.close()
    first.close()
    reader = Reader(path)
    assert [event for _, event in reader.events("r")] == order(1)
    assert reader.last_seq("other") == 24


SHARE = """
import sys
from pathlib import Path
import agentdeck.store.writer
from agentdeck.store.writer import Writer
from agentdeck.store.reader import Reader
from agentdeck.store.runs import create_run
from tests.store.samples import new_run, order
path, run = Path(sys.argv[1]), sys.argv[2]
faults = []
agentdeck.store.writer.LOCKED = 60.0  # a machine that is busy is no fault
writer = Writer(path, None, faults.append)
reader = Reader(path)
writer.call(lambda c: create_run(c, new_run(run))).result(60)
for task in range(60):
    writer.append(run, 1 + 12 * task, order(task))
    writer.log(run, [(1.0, "t", "s", 1, "info", "line")])
    reader.runs()
    assert len(list(reader.events(run))) % 12 == 0
    writer.flush()
writer.close()
assert not faults, faults
"""


def test_ten_processes_read_and_write_at_once(path: Path) -> None:
    """They also all create the file at once."""

    def one(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", SHARE, str(path), name], capture_output=True, text=True, check=False
        )

    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(one, [f"run{number}" for number in range(10)]))
    assert [process.stderr for process in done] == [""] * 10
    reader = Reader(path)
    assert len(reader.runs(20)) == 10
    assert {reader.last_seq(f"run{number}") for number in range(10)} == {720}


def test_threads_may_hand_over_at_once(path: Path) -> None:
    writer = Writer(path)

    def write(run: str) -> None:
        for task in range(100):
            writer.append(run, 1 + 12 * task, order(task))
            writer.log(run, [(1.0, "t", "s", 1, "info", "line")])

    threads = [threading.Thread(target=write, args=(f"r{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    reader = Reader(path)
    assert {reader.last_seq(f"r{number}") for number in range(8)} == {1200}
    assert {len(reader.logs(f"r{number}")) for number in range(8)} == {100}


def test_a_listener_that_fails_does_not_stop_the_writer(path: Path) -> None:
    def gone(run: str, seq: int) -> None:
        raise RuntimeError("the loop is closed")

    writer = Writer(path, gone)
    events: list[Event] = [Noted(1.0, "a")]
    writer.append("r", 1, events)
    writer.flush()
    writer.append("r", 2, events)
    writer.close()
    assert Reader(path).last_seq("r") == 2


def test_a_file_that_becomes_read_only_is_opened_again(path: Path) -> None:
    faults: list[StoreError | None] = []
    writer = Writer(path, None, faults.append)
    writer.call(lambda c: c.execute("PRAGMA query_only = 1").fetchall()).result(10)
    writer.append("r", 1, order(1))
    writer.flush(10)
    writer.close()
    assert "read-only; make both writable" in str(faults[0])
    assert faults[1:] == [None]
    assert Reader(path).last_seq("r") == 12


def test_large_results_between_calls_keep_their_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentdeck.store.write_batch.LARGE", 1000)
    writer = Writer(path)
    events: list[Event] = [TaskOpened(1.0, f"t{number}", {"x": str(number) * 900}) for number in range(50)]
    gate = threading.Event()
    writer.call(lambda c: gate.wait(10))
    for number in range(0, 50, 2):
        writer.append("r", 1 + number, events[number : number + 2])
        if number % 10 == 0:
            writer.call(lambda c: c.execute("SELECT 1").fetchall())
    gate.set()
    writer.close()
    assert [event for _, event in Reader(path).events("r")] == events

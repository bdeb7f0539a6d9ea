"""A run whose disk, file or lock fails: it pauses and says why, and goes on by itself, or ends with 3."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentdeck.errors import StoreError
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.events import Author
from agentdeck.store.command_client import send_and_wait
from agentdeck.store.reader import Reader
from agentdeck.store.schema import APPLICATION, VERSION, open_for_writing
from tests.waiting import until

WORK = """
agentdeck: 1
name: faulty
inputs: { n: integer, pad: string }
agents:
  a: { simulate: { takes: 20ms, returns: { n: "${inputs.n}", text: "${inputs.pad}" } } }
  b: { needs: a, command: [sh, -c, 'echo "$1" >> effects; echo "$1"', sh, "${a.n}"] }
output: ${b}
"""


class Case:
    """A run in a process of its own, in a folder of its own, and what it says on stderr."""

    def __init__(self, folder: Path, tasks: int = 60, size: int = 4000) -> None:
        """Each result has so many characters."""
        self.folder, self.tasks = folder, tasks
        self.db = folder / "deck.db"
        (folder / "w.yaml").write_text(WORK)
        lines = (json.dumps({"n": n, "pad": f"{n:08}" * (size // 8)}) + "\n" for n in range(tasks))
        (folder / "t.jsonl").write_text("".join(lines))
        self.said: list[str] = []

    @property
    def args(self) -> list[str]:
        return ["run", "w.yaml", "--tasks", "t.jsonl", "--workers", "4", "--db", str(self.db), "--json"]

    def start(self, *under: str) -> None:
        """`under` another program that starts it."""
        self.process = subprocess.Popen(
            [*under, sys.executable, "-m", "agentdeck.cli.main", *self.args],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.said += self.process.stderr  # a line at a time

    def recorded(self) -> int:
        try:
            reader = Reader(self.db)
        except Exception:
            return 0
        try:
            return reader.last_seq(reader.run("last").run)
        except Exception:
            return 0
        finally:
            reader.close()

    def heard(self, text: str) -> bool:
        return any(text in line for line in list(self.said))

    def end(self) -> int:
        """Its exit code."""
        code = self.process.wait(60)
        self._listener.join(5)
        return code

    def whole(self) -> list[ev.Event]:
        """Everything is recorded, every effect happened once, and the file is sound. The run's events."""
        reader = Reader(self.db)
        row = reader.run("last")
        events = [event for _, event in reader.events(row.run)]
        reader.close()
        assert (row.state, row.tasks.done) == ("done", self.tasks)
        ends = {event.task: event.output for event in events if isinstance(event, ev.TaskEnded)}
        assert ends == {str(n + 1): f"{n}\n" if isinstance(ends["1"], str) else n for n in range(self.tasks)}
        effects = (self.folder / "effects").read_text().split()
        assert sorted(map(int, effects)) == list(range(self.tasks)), "running agents were not torn"
        connection = sqlite3.connect(self.db)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        return events


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    if made.process.poll() is None:
        made.process.kill()
    made.process.wait()


def paused_and_went_on(events: list[ev.Event], why: str) -> None:
    paused = [event for event in events if isinstance(event, ev.RunPaused)]
    assert any(why in event.why for event in paused), "the history tells it"
    assert sum(isinstance(event, ev.RunUnpaused) for event in events) >= 1


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit")
def test_no_space_left_and_then_some(case: Case) -> None:
    """A limit on the size of its files, set and lifted from outside, while it runs."""
    case.start()
    until(lambda: case.recorded() > 30)
    hard = resource.prlimit(case.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(case.process.pid, resource.RLIMIT_FSIZE, (100_000, hard))
    until(lambda: case.heard("paused: store: "))
    before = case.recorded()
    time.sleep(0.3)
    assert case.recorded() == before
    assert case.process.poll() is None
    resource.prlimit(case.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert case.end() == 0
    assert case.heard("continued")
    paused_and_went_on(case.whole(), "the disk failed")


def mounted(folder: Path, size: str) -> bool:
    call = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(call, capture_output=True).returncode == 0


def test_a_full_disk_and_space_again(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if not mounted(small, "80m"):
        pytest.skip("cannot mount a small disk here")
    case = Case(tmp_path, size=160_000)  # together more than the WAL has room for in advance
    case.db = small / "deck.db"
    try:
        case.start()
        until(lambda: case.recorded() > 30)
        filler = small / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        until(lambda: case.heard("the disk is full"))
        filler.unlink()
        assert case.end() == 0
        paused_and_went_on(case.whole(), "the disk is full")
    finally:
        case.process.kill()
        case.process.wait()
        subprocess.run(["umount", str(small)], capture_output=True, check=False)


def test_another_process_holds_the_lock(case: Case) -> None:
    case.start()
    until(lambda: case.recorded() > 30)
    connection = sqlite3.connect(case.db, isolation_level=None, timeout=10)
    connection.execute("BEGIN EXCLUSIVE")
    until(lambda: case.heard("another process holds the lock"))
    connection.execute("COMMIT")
    connection.close()
    assert case.end() == 0
    paused_and_went_on(case.whole(), "another process holds the lock")


def test_what_cannot_be_asked_in_time_is_not_done_later(case: Case) -> None:
    case.start()
    until(lambda: case.recorded() > 30)
    connection = sqlite3.connect(case.db, isolation_level=None, timeout=10)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process holds the lock"):
        send_and_wait(case.db, "last", "cancel", {}, Author("ada"), 2.5)
    connection.execute("COMMIT")
    connection.close()
    assert case.end() == 0
    paused_and_went_on(case.whole(), "another process holds the lock")


def test_on_a_full_disk_what_is_there_can_be_read(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if not mounted(small, "700k"):
        pytest.skip("cannot mount a small disk here")
    try:
        path = small / "deck.db"
        open_for_writing(path).close()
        with (small / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        Reader(path).close()
        with pytest.raises(StoreError, match="the disk is full"):
            open_for_writing(path).execute("INSERT INTO definitions VALUES ('x', 'y')")
    finally:
        subprocess.run(["umount", str(small)], capture_output=True, check=False)


def test_what_a_person_paused_stays_paused(case: Case) -> None:
    case.start()
    until(lambda: case.recorded() > 30)
    assert send_and_wait(case.db, "last", "pause", {}, Author("ada"), 20).ok  # before the run is over
    connection = sqlite3.connect(case.db, isolation_level=None, timeout=10)
    connection.execute("BEGIN IMMEDIATE")
    time.sleep(3.0)
    connection.execute("COMMIT")
    time.sleep(0.5)
    reader = Reader(case.db)
    assert reader.run("last").state == "paused"
    reader.close()
    assert not case.heard("continued")
    call = [sys.executable, "-m", "agentdeck.cli.main", "resume", "last", "--db", str(case.db)]
    subprocess.run(call, check=True, capture_output=True)
    assert case.end() == 0
    case.whole()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit")
def test_interrupted_while_it_cannot_write_it_ends_with_3_and_can_be_resumed(case: Case) -> None:
    case.start()
    until(lambda: case.recorded() > 30)
    hard = resource.prlimit(case.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(case.process.pid, resource.RLIMIT_FSIZE, (100_000, hard))
    until(lambda: case.heard("paused: store: "))
    case.process.send_signal(signal.SIGINT)
    assert case.end() == 3
    assert case.heard("the disk failed")
    assert not case.heard("Traceback"), "".join(case.said)
    reader = Reader(case.db)
    until(lambda: reader.run("last").state == "interrupted")
    reader.close()
    connection = sqlite3.connect(case.db)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_file_that_is_damaged_while_it_runs_ends_it_with_3(case: Case) -> None:
    case.start()
    until(lambda: case.recorded() > 60)
    end = time.monotonic() + 15
    while case.process.poll() is None:
        assert time.monotonic() < end
        with contextlib.suppress(sqlite3.Error):
            connection = sqlite3.connect(case.db, isolation_level=None, timeout=5)
            connection.execute("INSERT INTO durations VALUES ('x', 'x', ?, '[]')", (str(time.time()),))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.close()
        with case.db.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(case.db.stat().st_size - 4096))
        time.sleep(0.02)
    assert case.end() == 3
    assert case.heard("the database is damaged"), case.said
    assert not case.heard("Traceback"), "".join(case.said)


@pytest.mark.parametrize("what", ["newer", "other", "garbage", "folder", "unreadable"])
def test_a_store_that_cannot_be_used_is_said_before_anything_runs(tmp_path: Path, what: str) -> None:
    case = Case(tmp_path)
    match what:
        case "newer":
            connection = sqlite3.connect(case.db)
            connection.executescript(
                f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION + 1}; CREATE TABLE x (y)"
            )
            connection.close()
        case "other":
            connection = sqlite3.connect(case.db)
            connection.executescript("CREATE TABLE photos (name)")
            connection.close()
        case "garbage":
            case.db.write_bytes(os.urandom(50_000))
        case "folder":
            case.db.mkdir()
        case "unreadable":
            case.db = case.folder / "t.jsonl" / "deck.db"
    call = [sys.executable, "-m", "agentdeck.cli.main", *case.args]
    done = subprocess.run(call, cwd=case.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1, done.stderr
    assert str(case.db) in done.stderr
    assert not (case.folder / "effects").exists()


#: Root may write whatever it likes; without these it is as anybody else.
AS_ANYBODY = ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_may_not_be_written_stays_as_it_is(case: Case, what: str) -> None:
    under = AS_ANYBODY if os.geteuid() == 0 else ()
    if under and not shutil.which("setpriv"):
        pytest.skip("root may write everything, and there is no setpriv")
    place = case.folder / "place"
    place.mkdir()
    case.db = place / "deck.db"
    case.db.touch()
    locked = case.db if what == "file" else place
    case.db.chmod(0o400 if what == "file" else 0o600)
    locked.chmod(locked.stat().st_mode & 0o555)
    try:
        case.start(*under)
        assert case.end() == 3
        assert len(case.said) == 1, case.said
        assert str(case.db) in case.said[0]
        assert not (case.folder / "effects").exists()
        assert not locked.stat().st_mode & 0o222
    finally:
        place.chmod(0o700)

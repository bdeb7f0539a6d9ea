"""A backup is one whole file of one moment, while others write."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from agentdeck.errors import StoreError, UsageError
from agentdeck.scheduler import events as ev
from agentdeck.store.backup import backup
from agentdeck.store.reader import Reader
from agentdeck.store.runs import create_run
from agentdeck.store.writer import Writer
from tests.store.samples import new_run, order


def test_a_copy_while_a_run_is_written(tmp_path: Path) -> None:
    path, to = tmp_path / "deck.db", tmp_path / "copy.db"
    writer, stop = Writer(path), threading.Event()
    writer.call(lambda db: create_run(db, new_run("r"))).result(5)
    written = 0

    def write() -> None:
        nonlocal written
        while not stop.is_set():
            events = order(written)
            writer.append("r", written * 12 + 1, events)
            written += 1
            writer.flush(5)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(5):
            before = written
            assert backup(path, to, force=True) == to.stat().st_size
            reader = Reader(to)
            seqs = [seq for seq, _ in reader.events("r")]
            reader.close()
            assert seqs == list(range(1, len(seqs) + 1)), "no gaps"
            assert len(seqs) % 12 == 0, "whole commits"
            assert len(seqs) >= max(0, before - 1) * 12
    finally:
        stop.set()
        thread.join()
        writer.close()
    assert written > 5
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    assert sorted(file.name for file in tmp_path.iterdir() if "copy" in file.name and "-" not in file.name) == [
        "copy.db"
    ]


def test_what_is_refused(tmp_path: Path) -> None:
    path, to = tmp_path / "deck.db", tmp_path / "copy.db"
    with pytest.raises(UsageError, match="nothing to back up"):
        backup(path, to)
    Writer(path).close()
    to.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        backup(path, to)
    assert to.read_text() == "mine"
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with pytest.raises(UsageError, match="the store itself"):
        backup(path, link, force=True)
    with pytest.raises(StoreError):
        backup(path, tmp_path / "nowhere/copy.db")
    with pytest.raises(UsageError, match="folder"):
        backup(path, tmp_path, force=True)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="a device or a pipe"):
        backup(path, pipe, force=True)
    assert pipe.is_fifo()
    backup(path, to, force=True)
    assert sqlite3.connect(to).execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_damaged_store_does_not_replace_a_good_copy(tmp_path: Path) -> None:
    path, to = tmp_path / "deck.db", tmp_path / "copy.db"
    writer = Writer(path)
    writer.call(lambda db: create_run(db, new_run("r")))
    writer.append("r", 1, [ev.TaskOpened(1.0, "1", {"text": "x" * 300})] * 2000)
    writer.close()
    backup(path, to)
    good = to.read_bytes()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\x99" * 8192)
    with pytest.raises(StoreError, match="damaged"):
        backup(path, to, force=True)
    assert to.read_bytes() == good
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))


def test_files_beside_the_store_are_copied_with_it(tmp_path: Path) -> None:
    path, to = tmp_path / "deck.db", tmp_path / "copy.db"
    kept, copy = tmp_path / "deck.db-checkpoints", tmp_path / "copy.db-checkpoints"
    Writer(path).close()
    backup(path, to, beside={kept: copy})
    assert not copy.exists(), "there was nothing to copy"
    with closing(sqlite3.connect(kept)) as written:
        written.execute("PRAGMA journal_mode = WAL")
        written.execute("CREATE TABLE threads (thread_id)")
        written.execute("INSERT INTO threads VALUES ('r/1/a')")
        written.commit()
        size = backup(path, to, force=True, beside={kept: copy})  # while another connection has it open
    with closing(sqlite3.connect(copy)) as read:
        assert read.execute("SELECT thread_id FROM threads").fetchall() == [("r/1/a",)]
    assert size == to.stat().st_size + copy.stat().st_size
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    to.unlink()
    with pytest.raises(UsageError, match=r"copy\.db-checkpoints exists"):
        backup(path, to, beside={kept: copy})
    assert not to.exists()
    kept.unlink()
    backup(path, to, force=True, beside={kept: copy})
    assert not copy.exists(), "checkpoints of an earlier backup would not fit this one"
    kept.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError):
        backup(path, to, force=True, beside={kept: copy})
    assert not list(tmp_path.glob(".*.part"))

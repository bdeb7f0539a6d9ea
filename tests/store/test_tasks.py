"""The tasks of a run as they are recorded: over several blocks, from any number on, and while the list grows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentdeck.errors import StoreError
from agentdeck.store import tasks
from agentdeck.store.reader import Reader
from agentdeck.store.schema import open_for_writing
from agentdeck.store.tasks import Recorded, TaskSpool, TaskStream, copy_tasks, lines_after, recorded, spool_of
from agentdeck.store.writer import Writer

#: With blocks of 100 bytes, a block has about eight of these.
ORDERS = [{"id": number} for number in range(1, 101)]


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "BLOCK", 100)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    writer = Writer(tmp_path / "deck.db")
    yield writer
    writer.close()


def all_after(path: Path, run: str, number: int = 0) -> list[object]:
    """The recorded tasks of a run after the first `number`, read block by block."""
    reader, found = Reader(path), list[object]()
    while lines := lines_after(reader, run, number + len(found)):
        found += [json.loads(line) for line in lines]
    reader.close()
    return found


@pytest.mark.parametrize("number", [0, 1, 8, 50, 99, 100, 101])
def test_a_list_is_read_from_any_number_on(writer: Writer, number: int) -> None:
    spool = spool_of(ORDERS)
    assert list(spool.after(number)) == ORDERS[number:]
    writer.call(spool.record(writer, "r")).result(5)
    spool.close()
    assert all_after(writer.path, "r", number) == ORDERS[number:]


def test_a_long_list_is_recorded_in_several_transactions(writer: Writer) -> None:
    spool = spool_of([{"id": number} for number in range(1000)])
    assert sum(1 for _ in spool.blocks()) > 2 * tasks.BATCH
    rest = spool.record(writer, "r")
    before = len(all_after(writer.path, "r"))
    writer.call(rest).result(5)
    assert 0 < before < len(all_after(writer.path, "r")) == 1000 == len(list(spool))
    spool.close()


def test_an_empty_list(writer: Writer) -> None:
    spool = TaskSpool()
    assert list(spool) == []
    writer.call(spool.record(writer, "r")).result(5)
    reader = Reader(writer.path)
    assert recorded(reader, "r") is None
    assert lines_after(reader, "r", 0) == []
    reader.close()


def test_a_list_that_grows_before_and_after_its_run_begins(writer: Writer) -> None:
    stream = TaskStream()
    stream.add([b'{"id": 1}', b'{"id": 2}'])
    writer.call(stream.attach(writer, "r")).result(5)
    stream.add([b'{"id": 3}'])
    reader = Reader(writer.path)
    assert recorded(reader, "r") == Recorded(3, complete=False)
    stream.end()
    assert recorded(reader, "r") == Recorded(3, complete=True)
    assert all_after(writer.path, "r") == ORDERS[:3]
    writer.call(lambda db: copy_tasks(db, "r", "fork")).result(5)
    assert all_after(writer.path, "fork", 1) == ORDERS[1:3]
    assert recorded(reader, "fork") == Recorded(3, complete=True)
    reader.close()


def test_a_list_that_ended_before_its_run_begins(writer: Writer) -> None:
    stream = TaskStream()
    stream.add([b'{"id": 1}'])
    stream.end()
    writer.call(stream.attach(writer, "r")).result(5)
    reader = Reader(writer.path)
    assert recorded(reader, "r") == Recorded(1, complete=True)
    reader.close()


def test_without_a_log_nothing_is_recorded(writer: Writer) -> None:
    stream = TaskStream()
    stream.add([b'{"id": 1}'])
    writer.call(stream.attach(None, "r")).result(5)
    stream.add([b'{"id": 2}'])
    stream.end()
    assert all_after(writer.path, "r") == []


def test_missing_blocks_are_an_error(writer: Writer) -> None:
    spool = spool_of(ORDERS)
    writer.call(spool.record(writer, "r")).result(5)
    spool.close()
    connection = open_for_writing(writer.path)
    connection.execute("DELETE FROM task_blocks")
    connection.close()
    with pytest.raises(StoreError, match=r"the tasks of r from 1 on are missing"):
        all_after(writer.path, "r")

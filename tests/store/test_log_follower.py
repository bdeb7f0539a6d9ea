"""Following the log of a run: each event once and in order, whoever writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentdeck.errors import StoreError
from agentdeck.scheduler.events import Event, Noted
from agentdeck.store.log_follower import EventBatch, LogFollower
from agentdeck.store.reader import Reader
from agentdeck.store.writer import Writer


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "deck.db"


@pytest.fixture
def writer(db: Path) -> Iterator[Writer]:
    made = Writer(db)
    yield made
    made.close()


@pytest.fixture
def reader(db: Path, writer: Writer) -> Iterator[Reader]:
    made = Reader(db)
    yield made
    made.close()


def notes(first: int, last: int) -> list[Event]:
    return [Noted(float(n), str(n)) for n in range(first, last + 1)]


def test_a_batch_knows_the_numbers_of_its_events() -> None:
    batch = EventBatch("r", 4, notes(4, 6))
    assert (batch.first, batch.last, batch.missed) == (4, 6, 0)
    assert [seq for seq, _ in batch.numbered()] == [4, 5, 6]
    assert EventBatch("r", 4, ()).last == 3


def test_a_run_that_is_written_is_followed_to_its_end(writer: Writer, reader: Reader) -> None:
    log, events = LogFollower("r"), list[tuple[int, Event]]()
    lines: list[str] = []
    for first in range(1, 100, 9):
        writer.append("r", first, notes(first, first + 8))
        writer.append("other", first, notes(first, first + 8))
        writer.log("r", [(1.0, "1", "a", 1, "info", str(first))])
        writer.flush()
        while log.has_news(reader):  # a full page may have more behind it
            batch, found = log.read_page(reader, 4)
            events += batch.numbered()
            lines += [line.text for line in found]
    assert events == list(enumerate(notes(1, 99), 1))
    assert lines == [str(first) for first in range(1, 100, 9)]


def test_without_a_write_there_are_no_news(writer: Writer, reader: Reader) -> None:
    log = LogFollower("r")
    writer.append("r", 1, notes(1, 3))
    writer.flush()
    assert log.has_news(reader)
    log.read_page(reader)
    assert not log.has_news(reader)
    writer.append("r", 4, notes(4, 4))
    writer.flush()
    assert log.has_news(reader)


def test_it_begins_after_a_number(writer: Writer, reader: Reader) -> None:
    writer.append("r", 1, notes(1, 9))
    writer.flush()
    log = LogFollower("r", 5)
    assert log.read_events(reader, 2) == EventBatch("r", 6, notes(6, 7))
    assert log.read_events(reader) == EventBatch("r", 8, notes(8, 9))
    assert log.read_events(reader) == EventBatch("r", 10, [])


def test_a_page_that_cannot_be_read_is_read_again(
    writer: Writer, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.append("r", 1, notes(1, 3))
    writer.log("r", [(1.0, "1", "a", 1, "info", "a line")])
    writer.flush()
    log = LogFollower("r")
    for method in ("logs", "events"):
        with monkeypatch.context() as broken:
            broken.setattr(Reader, method, unreadable)
            assert log.has_news(reader)
            with pytest.raises(StoreError):
                log.read_page(reader)
    batch, (line,) = log.read_page(reader)
    assert (batch.events, line.text) == (notes(1, 3), "a line")


def unreadable(*args: object, **settings: object) -> None:
    raise StoreError("not now")


def test_plain_rows_are_read_where_the_last_ones_ended(writer: Writer, reader: Reader) -> None:
    log = LogFollower("r")
    for first in (1, 4):
        writer.append("r", first, notes(first, first + 2))
        writer.flush()
        assert log.has_news(reader)
        assert [row["seq"] for row in log.read_raw(reader)] == [first, first + 1, first + 2]
        assert not log.has_news(reader)

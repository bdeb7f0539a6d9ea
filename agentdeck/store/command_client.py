"""Asking the process that holds a run: a row in the store, and its answer."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from agentdeck.errors import StoreError
from agentdeck.scheduler.events import Author
from agentdeck.store.commands import put_command
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.store.writer import Writer
from agentdeck.terminal_text import clean
from agentdeck.workflow.model import Data

PATIENCE = 3.0
LOOK = 0.02


class Answer(NamedTuple):
    """What came of a request: whether it was carried out, a sentence for people, and the number of the event
    that the answer knew of (0 where nobody answered)."""

    run: str
    ok: bool
    text: str
    seq: int = 0


def ask(
    path: Path, run: str, verb: str, args: Mapping[str, Data], author: Author, patience: float = PATIENCE
) -> Answer:
    """Ask, and wait for the answer. A run that nobody holds is told of at once. Raises UsageError for a run that
    is not known, StoreError where the store cannot be used."""
    reader = Reader(path)
    try:
        row = reader.run(run)
        if row.state not in ("running", "paused"):
            return Answer(row.run, False, nobody(row))
        number = _put(path, row.run, verb, dict(args), author, patience)
        return _answer(reader, row, number, patience)
    finally:
        reader.close()


def _put(path: Path, run: str, verb: str, args: Data, author: Author, patience: float) -> int:
    """The request is on disk; its id. What cannot be put in time is not put later either."""
    writer, late = Writer(path), threading.Event()

    def put(db: sqlite3.Connection) -> int:
        if late.is_set():
            raise TimeoutError
        return put_command(db, run, verb, args, author, time.time())

    try:
        return writer.call(put).result(patience)
    except TimeoutError:
        late.set()
        raise writer.fault or StoreError(f"{path}: not written after {patience:g} s") from None
    finally:
        writer.close(0.5 if late.is_set() else 10.0)


def _answer(reader: Reader, row: RunRow, number: int, patience: float) -> Answer:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        row = reader.run(row.run)  # before its answer is looked for: a run answers before it is over
        request = reader.command(number)
        if request is not None and request.answer is not None:
            answer = request.answer
            return Answer(
                row.run, bool(answer.get("ok")), _told(answer.get("answer")), int(answer.get("seq") or 0)
            )
        if row.state not in ("running", "paused"):
            return Answer(row.run, False, nobody(row))
        time.sleep(LOOK)
    late = f"process {row.pid} on {row.host} has not answered in {patience:g} s; it may still"
    return Answer(row.run, False, late)


def nobody(row: RunRow) -> str:
    """Why nobody can be asked about this run."""
    if row.state == "interrupted":
        return f"{row.run} is interrupted: nobody runs it; go on with: agentdeck resume {row.run}"
    return f"{row.run} is over ({row.state})"


def _told(answer: Data) -> str:
    if isinstance(answer, dict):
        return clean(
            ", ".join(f"{name} = {'none' if value is None else value}" for name, value in answer.items())
        )
    return clean(str(answer))

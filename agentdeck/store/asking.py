"""Asking the process that holds a run: a row in the store, and its answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from agentdeck.core.clean import clean
from agentdeck.errors import StoreError
from agentdeck.store.commands import put_command
from agentdeck.store.listed import RunRow
from agentdeck.store.reader import Reader
from agentdeck.store.writer import Writer
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
    path: Path, run: str, verb: str, args: Mapping[str, Data], who: str, patience: float = PATIENCE
) -> Answer:
    """Ask, and wait for the answer. A run that nobody holds is told of at once. Raises UsageError for a run that
    is not known, StoreError where the store cannot be used."""
    reader = Reader(path)
    try:
        row = reader.run(run)
        if row.state not in ("running", "paused"):
            return Answer(row.run, False, nobody(row))
        writer = Writer(path)
        try:
            asked = dict(args)
            put = writer.call(lambda db: put_command(db, row.run, verb, asked, who, time.time()))
            number = put.result(patience)
        except TimeoutError:
            raise writer.fault or StoreError(f"{path}: not written after {patience:g} s") from None
        finally:
            writer.close()
        return _answer(reader, row, number, patience)
    finally:
        reader.close()


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
        return clean(", ".join(f"{name} = {value}" for name, value in answer.items()))
    return clean(str(answer))

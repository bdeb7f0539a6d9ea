"""Sends a command to the process that executes a run: a row in the store, which that process answers."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from agentdeck.scheduler.events import Author
from agentdeck.store.commands import put_command
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.store.schema import open_for_writing, transaction
from agentdeck.store.sqlite_errors import explain
from agentdeck.terminal_text import clean
from agentdeck.workflow.model import Data

#: Seconds to wait for the store's lock, and then for the answer.
TIMEOUT = 3.0
LOOK = 0.02


class CommandAnswer(NamedTuple):
    """Whether a command was carried out, and a sentence about it. `seq` is the number of the run's last event at
    that time; 0 without an answer. `run_over`: no process executes the run, and none will carry the command out:
    another process may, once it has taken the run."""

    run: str
    ok: bool
    text: str
    seq: int = 0
    run_over: bool = False


def send_and_wait(
    path: Path, run: str, verb: str, args: Mapping[str, Data], author: Author, timeout: float = TIMEOUT
) -> CommandAnswer:
    """Send a command and wait for its answer. Nothing is sent to a run that no process executes. Raises
    UsageError for an unknown run, StoreError when the store cannot be read or written."""
    with closing(Reader(path)) as reader:
        row = reader.run(run)
        if not reader.takes_commands(row):
            return not_executed(row)
        command = _write(path, row.run, verb, dict(args), author, timeout)
        return _wait(reader, row, command, timeout)


def _write(path: Path, run: str, verb: str, args: Data, author: Author, timeout: float) -> int:
    """Commit the command, by a connection of its own. Returns the command's id."""
    with closing(open_for_writing(path, busy_seconds=timeout)) as connection:
        try:
            with transaction(connection):
                return put_command(connection, run, verb, args, author, time.time())
        except sqlite3.Error as error:
            raise explain(error, path) from error


def _wait(reader: Reader, row: RunRow, command: int, timeout: float) -> CommandAnswer:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        row = reader.run(row.run)  # before the command: a run answers all of its commands before it ends
        over = not reader.takes_commands(row)
        request = reader.command(command)
        if request is not None and request.answer is not None:
            answer = request.answer
            text, seq = _sentence(answer.get("answer")), int(answer.get("seq") or 0)
            return CommandAnswer(row.run, bool(answer.get("ok")), text, seq, bool(answer.get("run_over")))
        taken = request is not None and request.taken_at is not None
        # A command that was taken is answered by then: it may be the one that ended the run.
        if over and not (taken and row.state in ("running", "paused")):
            return not_executed(row)
        time.sleep(LOOK)
    late = f"process {row.pid} on {row.host} has not answered within {timeout:g} s; it may still do so"
    return CommandAnswer(row.run, False, late)


def not_executed(row: RunRow) -> CommandAnswer:
    """The answer where no process executes the run."""
    if row.state == "interrupted":
        why = f"{row.run} is interrupted: no process executes it; to continue it: agentdeck resume {row.run}"
    elif row.state in ("running", "paused"):
        why = f"{row.run} has ended; process {row.pid} on {row.host} is closing"
    else:
        why = f"{row.run} has ended ({row.state})"
    return CommandAnswer(row.run, False, why, run_over=True)


def _sentence(answer: Data) -> str:
    if isinstance(answer, dict):
        return clean(
            ", ".join(f"{name} = {'none' if value is None else value}" for name, value in answer.items())
        )
    return clean(str(answer))

"""Commands to the owner of a run: a row of the table `commands` is one command and its answer.

Any process puts a command. The owner polls (`Reader.commands`, which takes no lock), takes what is new, carries
it out and writes the answer. The verbs are those of `engine/commands.py`.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import TypeAlias

from agentdeck.scheduler.events import Author
from agentdeck.store.codec import text_of
from agentdeck.workflow.model import Data


@dataclass(frozen=True, slots=True)
class Request:
    """One command. `taken_at` is None until the owner has taken it, `answer` until it was carried out."""

    id: int
    run: str
    verb: str
    args: Data
    author: Author
    at: float
    taken_at: float | None = None
    answer: Data = None

    @property
    def who(self) -> str:
        """The author as events record it."""
        return self.author.text


COLUMNS = "id, run, verb, args, who, at, taken_at, answer, author"
Columns: TypeAlias = tuple[int, str, str, str, str, float, float | None, str | None, str | None]


def request_from_row(row: Columns) -> Request:
    """Returns the request of a row. Version 0.1 stored only the author's name."""
    number, run, verb, args, who, at, taken_at, answer, author = row
    asked = Author(**json.loads(author)) if author else Author(who or "unknown")
    return Request(
        number, run, verb, json.loads(args), asked, at, taken_at, json.loads(answer) if answer else None
    )


def put_command(
    connection: sqlite3.Connection, run: str, verb: str, args: Data, author: Author, at: float
) -> int:
    """Inserts a command and returns its id, under which the answer will be."""
    cursor = connection.execute(
        "INSERT INTO commands (run, verb, args, who, author, at) VALUES (?, ?, ?, ?, ?, ?)",
        (run, verb, text_of(args), author.text, text_of(author._asdict()), at),
    )
    return int(cursor.lastrowid or 0)


def take_commands(connection: sqlite3.Connection, run: str, now: float) -> list[Request]:
    """Marks all new commands to a run as taken, and returns them in the order of their ids."""
    rows = connection.execute(
        f"UPDATE commands SET taken_at = ? WHERE run = ? AND taken_at IS NULL RETURNING {COLUMNS}", (now, run)
    ).fetchall()
    return sorted((request_from_row(row) for row in rows), key=lambda request: request.id)


def refuse_commands(connection: sqlite3.Connection, run: str, now: float, why: str) -> None:
    """Refuses commands that the last owner did not take before it died. Their senders have read that no process
    executes the run, so the next owner must not carry them out."""
    connection.execute(
        "UPDATE commands SET taken_at = ?, answer = ? WHERE run = ? AND taken_at IS NULL",
        (now, text_of({"ok": False, "answer": why}), run),
    )


def refuse_unanswered(connection: sqlite3.Connection, run: str, now: float, why: str) -> None:
    """Refuses the commands that the owner of a run did not carry out before the run ended, taken or not: their
    senders wait for an answer."""
    connection.execute(
        "UPDATE commands SET taken_at = coalesce(taken_at, ?), answer = ? WHERE run = ? AND answer IS NULL",
        (now, text_of({"ok": False, "answer": why, "run_over": True}), run),
    )


def answer_command(connection: sqlite3.Connection, request: int, answer: Data) -> None:
    """Stores the answer to a command."""
    connection.execute("UPDATE commands SET answer = ? WHERE id = ?", (text_of(answer), request))

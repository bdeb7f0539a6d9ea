"""What one process asks of the owner of a run: `commands` owns one row per request, and its answer.

Anybody puts; the owner looks (`Reader.commands`, which takes no lock), takes, and answers.
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
    """One command. `taken_at` None: no process has taken it yet."""

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


def request_of(row: Columns) -> Request:
    """A request from its row. Version 0.1 wrote no more of the author than a name."""
    number, run, verb, args, who, at, taken_at, answer, author = row
    asked = Author(**json.loads(author)) if author else Author(who or "unknown")
    return Request(
        number, run, verb, json.loads(args), asked, at, taken_at, json.loads(answer) if answer else None
    )


def put_command(
    connection: sqlite3.Connection, run: str, verb: str, args: Data, author: Author, at: float
) -> int:
    """Ask; the id under which the answer will be."""
    cursor = connection.execute(
        "INSERT INTO commands (run, verb, args, who, author, at) VALUES (?, ?, ?, ?, ?, ?)",
        (run, verb, text_of(args), author.text, text_of(author._asdict()), at),
    )
    return int(cursor.lastrowid or 0)


def take_commands(connection: sqlite3.Connection, run: str, now: float) -> list[Request]:
    """All that is asked of a run and not taken yet, in order; taken now."""
    rows = connection.execute(
        f"UPDATE commands SET taken_at = ? WHERE run = ? AND taken_at IS NULL RETURNING {COLUMNS}", (now, run)
    ).fetchall()
    return sorted((request_of(row) for row in rows), key=lambda request: request.id)


def refuse_commands(connection: sqlite3.Connection, run: str, now: float, why: str) -> None:
    """What was asked of an owner that died before it heard is not done by the next one: whoever asked was told
    that nobody runs it."""
    connection.execute(
        "UPDATE commands SET taken_at = ?, answer = ? WHERE run = ? AND taken_at IS NULL",
        (now, text_of({"ok": False, "answer": why}), run),
    )


def answer_command(connection: sqlite3.Connection, request: int, answer: Data) -> None:
    """Tell who asked what came of it."""
    connection.execute("UPDATE commands SET answer = ? WHERE id = ?", (text_of(answer), request))

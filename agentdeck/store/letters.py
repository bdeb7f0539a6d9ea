"""Dead letters: `letters` has one row for each final failure of a step, with what a retry needs."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from hashlib import blake2b

from agentdeck.errors import Fault
from agentdeck.store.codec import put_result, text_of
from agentdeck.workflow.model import Data

STATES = ("open", "retried", "closed", "dropped")


@dataclass(frozen=True, slots=True)
class Letter:
    """A step that finally failed. `id` is 0 until it is stored. `identity` is that of the workflow it failed
    in."""

    run: str
    task: str
    step: str
    agent: str
    identity: str
    fault: Fault
    inputs: Data
    attempts: int
    at: float
    state: str = "open"
    why: str = ""
    id: int = 0

    @property
    def cause(self) -> str:
        """A fingerprint that letters of one cause share: agent, kind of fault, and the message without its
        numbers, quoted parts and identifiers."""
        shape = re.sub(r"'[^']*'|\"[^\"]*\"", "…", self.fault.message)
        shape = re.sub(r"\b(?=\w*\d)[\w-]+|\d+", "#", shape)
        words = "\0".join((self.agent, self.fault.kind, " ".join(shape.split())))
        return blake2b(words.encode("utf-8", "replace"), digest_size=4).hexdigest()


def add_letter(connection: sqlite3.Connection, letter: Letter) -> int:
    """Store a letter. Returns its id."""
    fault = {
        name: value
        for name, value in letter.fault._asdict().items()
        if value not in (None, "") and (name, value) != ("cut_at", 0)
    }
    cursor = connection.execute(
        "INSERT INTO letters (run, task, step, agent, identity, cause, fault, inputs, attempts, state, why, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(letter.run, letter.task, letter.step, letter.agent, letter.identity, letter.cause),
            text_of({"kind": letter.fault.kind, "message": letter.fault.message, **fault}),
            put_result(connection, letter.inputs),
            *(letter.attempts, letter.state, letter.why, letter.at),
        ),
    )
    return int(cursor.lastrowid or 0)


def set_letter(connection: sqlite3.Connection, letter: int, state: str, why: str = "") -> bool:
    """Set a letter to open, retried, closed (the retry succeeded) or dropped. False if it does not exist."""
    if state not in STATES:
        raise ValueError(f"a letter is one of {', '.join(STATES)}, not {state}")
    sql = "UPDATE letters SET state = ?, why = ? WHERE id = ?"
    return connection.execute(sql, (state, why, letter)).rowcount == 1


def settle_letters(connection: sqlite3.Connection, run: str, task: str, step: str, state: str) -> int:
    """Set the letters of a step that is retried (`retried`) or has succeeded after all (`closed`), and those of
    its items and nested tasks. Returns how many."""
    own = ("open",) if state == "retried" else ("open", "retried")
    under = ("open",) if state == "retried" else ("retried",)
    path = f"{task}/{step}"
    return connection.execute(
        f"UPDATE letters SET state = ? WHERE run = ? AND ((task = ? AND step = ? AND state IN ({_marks(own)}))"
        f" OR (((task = ? AND step >= ? AND step < ?) OR task = ? OR (task >= ? AND task < ?)"
        f" OR (task >= ? AND task < ?)) AND state IN ({_marks(under)})))",
        (
            *(state, run, task, step, *own),
            *(task, step + "[", step + "\\", path, path + "/", path + "0", path + "[", path + "\\", *under),
        ),
    ).rowcount


def _marks(values: tuple[str, ...]) -> str:
    return ",".join("?" * len(values))

"""How a run ended, for Airflow: the output of the task, or why it failed and whether a retry can help."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentdeck.airflow.narration import last_note
from agentdeck.airflow.submission import TOOL
from agentdeck.command_hint import with_db
from agentdeck.insight.formatting import plural
from agentdeck.insight.summary import task_counts
from agentdeck.operations.recorded_run import load_run
from agentdeck.operations.results import has_one_task
from agentdeck.store.letters import Letter
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.store.task_outcomes import collect, page
from agentdeck.terminal_text import clean
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Data

#: Kinds of faults that another try meets again: what has to change is the workflow, an input or a decision.
FINAL = frozenset(
    {"permanent", "rejected", "context", "expression", "setup", "rejected_by_person", "unknown", "budget"}
)
#: Causes of dead letters that an error names, and characters of the message of each.
NAMED = 5
MESSAGE = 300
#: Dead letters that are looked at.
LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class Ending:
    """`error` is empty where the run is done, and `output` is its output then. `final`: a retry cannot help."""

    state: str
    output: Data = None
    error: str = ""
    final: bool = False


def ending_of(reader: Reader, db: Path, run: str, most: int) -> Ending:
    """How a run that is over has ended. An output of more than `most` bytes as JSON is replaced by the command
    that prints it."""
    row, _, view = load_run(reader, run)
    if row.state == "done":
        return Ending("done", _output(reader, db, row, view, most))
    letters = reader.letters(run, state="open", limit=LOOKED_AT)
    lines = [f"{row.workflow}: run {run} {_how(reader, row)} ({task_counts(view.tasks)})", *_causes(letters)]
    if letters:
        lines.append(f"{plural(view.letters, 'dead letter')}: agentdeck letters {run}")
    lines.append(f"agentdeck show {run}")
    error = with_db(clean("\n".join(lines), lines=True), str(db))
    return Ending(row.state, error=error, final=_is_final(reader, row, letters))


def _is_final(reader: Reader, row: RunRow, letters: list[Letter]) -> bool:
    """Whether a retry cannot help, or is not wanted, as the operator has cancelled the run."""
    if row.state == "cancelled":
        command = reader.last_command(row.run, "cancel")
        return command is None or command.author.tool != TOOL
    return row.state == "failed" and bool(letters) and all(one.fault.kind in FINAL for one in letters)


def _how(reader: Reader, row: RunRow) -> str:
    if row.state != "interrupted":
        return row.state if row.state == "failed" else f"was {row.state}"
    note = last_note(reader, row.run)
    return note if note.startswith("stopped") else "was interrupted: its process ended before it did"


def _causes(letters: list[Letter]) -> Iterator[str]:
    """The causes of failures, the most frequent first: agent, kind and message."""
    counts = Counter(letter.cause for letter in letters)
    first = {letter.cause: letter for letter in reversed(letters)}
    for cause, count in counts.most_common(NAMED):
        letter = first[cause]
        message = letter.fault.message
        message = message if len(message) <= MESSAGE else message[: MESSAGE - 1] + "…"
        yield f"{letter.agent} ({letter.fault.kind}): {message}" + (f" ({count:,} times)" if count > 1 else "")
    if len(counts) > NAMED:
        yield f"… and {plural(len(counts) - NAMED, 'other cause')}"


def _output(reader: Reader, db: Path, row: RunRow, view: RunView, most: int) -> Data:
    """The output of the only task, or the list of the outputs of all tasks."""
    if has_one_task(view):
        size = _size(view.output)
        return view.output if size <= most else _reference(db, row, size)
    outputs: list[Any] = []
    size = 0
    collect(reader, row.run)
    after: int | None = 0
    while after is not None:
        tasks, after = page(reader, row.run, after)
        for task in tasks:
            size += _size(task.output)
            if size > most:
                return _reference(db, row, None)
            outputs.append(task.output)
    return outputs


def _size(value: Data) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _reference(db: Path, row: RunRow, size: int | None) -> Data:
    """What stands for an output that is too large: where it is, and the command that prints it."""
    command = with_db(f"agentdeck results {row.run}", str(db))
    return {"run": row.run, "db": str(db), "bytes": size, "command": command}

"""Starts the run of a task in a process of its own, or goes on with the one of an earlier try."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from agentdeck.airflow.run_ids import TaskTry
from agentdeck.engine.author import current_author
from agentdeck.errors import StoreError, UsageError
from agentdeck.operations import commands
from agentdeck.operations.engine_process import EngineProcess
from agentdeck.operations.recorded_run import LIVE
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow

#: The tool that decisions of these processes are recorded with, and a tag of their runs.
TOOL = "airflow"
#: Seconds between two looks at a process that starts.
LOOK = 0.05
UNUSABLE = 3
#: Bytes of a file that are hashed together.
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Submission:
    """What a task runs. `tasks` are maps of inputs, or a file of them. `env` are variables of the process."""

    workflow: Path
    db: Path
    inputs: Mapping[str, Any] = field(default_factory=dict)
    tasks: Sequence[Mapping[str, Any]] | Path | None = None
    workers: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def launch_tag(self) -> str:
        """A tag that tells whether another submission would launch the same: its workflow file, inputs, tasks and
        settings."""
        given = [str(self.workflow), _json(self.inputs), _json(self.settings)]
        given += [] if isinstance(self.tasks, Path) else [_json(self.tasks)]
        digest = blake2b("\0".join(given).encode("utf-8", "replace"), digest_size=5)
        for file in (self.workflow, self.tasks):
            if isinstance(file, Path):
                _add_file(digest, file)
        return f"launch-{digest.hexdigest()}"


class Submitted(NamedTuple):
    """The run of a task, and the number of its last event before this try."""

    run: str
    seq: int = 0


class Submitter:
    """Submits; `process` is what it has started."""

    def __init__(self, wanted: Submission, task: TaskTry, say: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._task = task
        self._say = say
        self._process: EngineProcess | None = None

    def submit(self) -> Submitted:
        """Start the run, or go on with it; returns once a process executes it, or it has ended. Raises UsageError
        for what no retry can help, StoreError where the store cannot be used."""
        wanted = self._wanted
        with closing(Reader(wanted.db)) as reader:
            earlier = self._task.newest(reader)
            if earlier is None:
                return self._launch(reader)
            if not earlier.cleared:
                return self._go_on(reader, earlier.row)
            row = self._ended(reader, earlier.row)
            if why := self._begins_anew(reader, row):
                self._say(f"{row.run} {why}: a new run begins")
                return self._launch(reader)
            return self._fork(reader, row)

    def stop(self) -> str:
        """Stop what has not been submitted yet: cancel its run, or end a process that has not recorded one yet.
        Returns a sentence. Raises StoreError."""
        process = self._process
        if process is None:
            return "no run was started yet"
        try:
            return cancel(self._wanted.db, process.run, self._task.name)
        except UsageError:
            process.kill()
            return "the process of the run was ended before it recorded anything"

    # A new run

    def _begins_anew(self, reader: Reader, row: RunRow) -> str:
        """Why the run of a task that was cleared is not continued; empty where it is."""
        if row.state == "done":
            return "is done, and the task was cleared"
        if not reader.last_seq(row.run):
            return "had not begun, and the task was cleared"
        if self._wanted.launch_tag not in row.tags:
            return "was launched with another workflow file, inputs or tasks, and the task was cleared"
        return ""

    def _launch(self, reader: Reader) -> Submitted:
        wanted, run = self._wanted, self._task.run
        if not wanted.workflow.is_file():
            raise UsageError(f"{wanted.workflow}: there is no such workflow file")
        with tempfile.TemporaryDirectory(prefix="agentdeck-") as folder:
            arguments = ["run", str(wanted.workflow), "--run-id", run]
            if wanted.inputs:
                arguments += ["--inputs", _written(Path(folder, "inputs.json"), [wanted.inputs])]
            if isinstance(wanted.tasks, Path):
                arguments += ["--tasks", str(wanted.tasks)]
            elif wanted.tasks is not None:
                arguments += ["--tasks", _written(Path(folder, "tasks.jsonl"), _maps(wanted.tasks))]
            if wanted.workers is not None:
                arguments += ["--workers", str(wanted.workers)]
            for name, value in wanted.settings.items():
                arguments += ["--set", f"{name}={value}"]
            for tag in (TOOL, self._task.name, wanted.launch_tag):
                arguments += ["--tag", tag]
            self._start(reader, run, arguments)  # it has read the files when its run is recorded
        return Submitted(run)

    # A run of an earlier try

    def _go_on(self, reader: Reader, row: RunRow) -> Submitted:
        run, seq = row.run, reader.last_seq(row.run)
        match row.state:
            case "done":
                self._say(f"{run} is done: its output is taken")
            case "running" | "paused":
                self._say(f"{run} is {row.state_text} in process {row.pid} on {row.host}: it is followed")
            case "cancelled":
                return self._fork(reader, row)
            case _:
                self._continue(reader, row)
        return Submitted(run, seq)

    def _ended(self, reader: Reader, row: RunRow) -> RunRow:
        """The run of a task that was cleared, cancelled where it still executes: the triggerer may not have
        cancelled it yet."""
        if row.state in LIVE:
            self._say(cancel(self._wanted.db, row.run, self._task.name))
            while (row := reader.run(row.run)).state in LIVE:
                time.sleep(LOOK)
        return row

    def _continue(self, reader: Reader, row: RunRow) -> None:
        """Retry what failed of a run that no process executes, and resume the rest."""
        from agentdeck.operations.retry import plan_failed

        plan = plan_failed(reader, row)
        if plan.steps:
            self._say(f"{row.run} was {row.state}: {plan.summary} again")
            self._start(reader, row.run, ["retry", row.run, "--yes"])
        elif row.state == "interrupted":
            self._say(f"{row.run} was interrupted: it is resumed")
            self._start(reader, row.run, ["resume", row.run])
        elif plan.undecided:
            raise UsageError(
                f"{row.run} failed in a step that may have taken effect, which a retry would do again; decide:"
                f" agentdeck letters show {plan.undecided[0].id}"
            )
        else:
            raise UsageError(f"{row.run} failed, and no step of it can be retried: agentdeck letters {row.run}")

    def _fork(self, reader: Reader, row: RunRow) -> Submitted:
        """Continue a cancelled run, or the run of a task that was cleared, by a new one with its results. The
        triggerer may still cancel the old run, on behalf of the try before: it never cancels the new one."""
        from agentdeck.operations.fork import Fork, fork, supersede

        author = current_author(TOOL, self._task.name)
        made = fork(self._wanted.db, Fork(row.run, author=author, name=self._task.run))
        if row.state == "interrupted":
            supersede(self._wanted.db, row, made.run, author.text)
        self._say(f"{row.run} was {row.state}: {made.run} continues with {made.shared:,} of its results")
        self._start(reader, made.run, ["resume", made.run])
        return Submitted(made.run)

    # The process

    def _start(self, reader: Reader, run: str, arguments: Sequence[str]) -> None:
        """Start a process, and wait until it has recorded something, or ended."""
        before = reader.last_seq(run)
        folder = self._wanted.workflow.parent
        given = [*arguments, "--wait-answers", "--db", str(self._wanted.db)]
        try:
            process = EngineProcess(run, given, TOOL, self._wanted.env, folder if folder.is_dir() else None)
        except (OSError, ValueError) as error:  # such as a variable that has no valid name
            raise UsageError(f"the process of the run cannot be started: {error}") from None
        self._process = process
        while process.ended is None and reader.last_seq(run) == before:
            time.sleep(LOOK)
        if reader.last_seq(run) == before:
            raise _start_error(process)


def _start_error(process: EngineProcess) -> Exception:
    """Why a process ended before it did anything: what it says on stderr."""
    code = process.ended
    said = process.stderr_tail.removeprefix("agentdeck: ") or f"it ended with code {code} and said nothing"
    if code is not None and code < 0:
        return StoreError(f"agentdeck {process.verb} was killed by signal {-code} before it began. {said}")
    return (StoreError if code == UNUSABLE else UsageError)(said)


def cancel(db: Path, run: str, task: str) -> str:
    """Cancel a run, if a process executes it; returns what came of it as a sentence. Raises StoreError, and
    UsageError for a run that is not recorded."""
    answer = commands.send(db, run, commands.cancel(), current_author(TOOL, task))
    return f"{run} is cancelled" if answer.ok else answer.text


def _maps(tasks: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
    if not tasks:
        raise UsageError("tasks is an empty list: there is nothing to run")
    for number, task in enumerate(tasks):
        if not isinstance(task, Mapping):
            raise UsageError(f"tasks[{number}] is {task!r}; it has to be a map of inputs")
    return tasks


def _written(file: Path, values: Sequence[Any]) -> str:
    with file.open("w", encoding="utf-8") as out:
        for value in values:
            out.write(_json(value) + "\n")
    return str(file)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise UsageError(f"inputs and tasks are plain data, as in JSON: {error}") from None


def _add_file(digest: blake2b, file: Path) -> None:
    try:
        with file.open("rb") as opened:
            while piece := opened.read(PIECE):
                digest.update(piece)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None

"""The tasks of a launch: how many there are, how they are recorded, and in which order the engine gets them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from typing import TYPE_CHECKING

from agentdeck.engine.run_storage import RunStorage
from agentdeck.engine.task_feed import LATER, RecordedTasks, TaskFeed
from agentdeck.errors import UsageError
from agentdeck.store.tasks import TaskList, TaskSpool, WriteRemainder, end_tasks, spool_of
from agentdeck.workflow.model import Data, Definition

if TYPE_CHECKING:
    from agentdeck.engine.launch import Launch


def complete(definition: Definition, given: Mapping[str, Data]) -> dict[str, Data]:
    """Inputs with their defaults. Raises UsageError, by name, for missing and for unknown inputs."""
    unknown = [name for name in given if name not in definition.inputs]
    if unknown and definition.inputs:
        known = ", ".join(definition.inputs)
        raise UsageError(f"{definition.name} has no input {', '.join(unknown)}; it has {known}")
    inputs = {name: given.get(name, spec.default) for name, spec in definition.inputs.items()}
    missing = [name for name, spec in definition.inputs.items() if spec.required and name not in given]
    if missing:
        raise UsageError(
            f"{definition.name} needs the input {', '.join(missing)}; give it with -i {missing[0]}=…"
        )
    return {**given, **inputs}


async def record_tasks(
    tasks: Iterable[Mapping[str, Data]] | None, storage: RunStorage, run: str
) -> WriteRemainder | None:
    """Write the tasks into the store, before the run's row. Returns what writes the rest of them together with
    that row; None where there is nothing to write: no store, no tasks, or an iterator that only its program can
    read. The tasks of an iterator are recorded as they are opened."""
    if isinstance(tasks, TaskFeed):
        return tasks.stream.attach(storage.log if storage.durable else None, run)
    if not storage.durable or not isinstance(tasks, TaskSpool | Sequence):
        return None
    spool = tasks if isinstance(tasks, TaskSpool) else await asyncio.to_thread(spool_of, tasks)
    rest = await asyncio.to_thread(spool.record, storage.log, run)

    def last(connection: sqlite3.Connection) -> None:
        rest(connection)
        end_tasks(connection, run, spool.count)

    return last


def given_tasks(launch: Launch) -> int | None:
    """The number of tasks, where they were counted before the run starts."""
    if launch.tasks is None:
        return 1
    counted = launch.source.get("total")
    if isinstance(counted, int):
        return counted
    return len(launch.tasks) if isinstance(launch.tasks, Sized) else None


def source_of(launch: Launch, opened: int) -> Iterator[Mapping[str, Data]]:
    """The tasks not opened yet, with LATER where one has not arrived."""
    tasks: Iterable[Mapping[str, Data]] = [{}] if launch.tasks is None else launch.tasks
    if isinstance(tasks, RecordedTasks):
        left: Iterator[Mapping[str, Data]] = tasks
    else:
        left = tasks.after(opened) if isinstance(tasks, TaskList) else islice(tasks, opened, None)
    for task in left:
        if task is LATER:
            yield task
        else:
            yield complete(launch.definition, {**launch.inputs, **task, **launch.overlay})

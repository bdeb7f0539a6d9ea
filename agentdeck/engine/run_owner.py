"""Holding a run: the lease is renewed, what others ask is carried out, the run's row is kept up to date."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio

from agentdeck.engine.commands import order
from agentdeck.engine.engine import Engine
from agentdeck.engine.reopened_steps import restore_tasks, steps_of
from agentdeck.engine.run_storage import LEASE, RunStorage
from agentdeck.errors import StoreError, UsageError
from agentdeck.store.commands import Request, answer_command, take_commands
from agentdeck.store.fault_point import passing
from agentdeck.store.reader import Reader
from agentdeck.store.runs import renew_lease
from agentdeck.store.sqlite_errors import RunTaken, StoreBroken

T = TypeVar("T")

#: How often the owner looks for commands: half of what an operator notices.
LOOK = 0.08


async def hold(engine: Engine, storage: RunStorage) -> None:
    """Beside the engine, as long as the run lasts. Losing the lease stops this process's part of the run."""
    assert storage.path is not None
    reader = Reader(storage.path)
    place = _place(storage.path)
    renewed = 0.0
    state = ""
    try:
        while True:
            now = engine.clock.now()
            try:
                if reader.commands(engine.scheduler.run):
                    await _carry_out(engine, storage, reader)
                if now - renewed > LEASE / 3:
                    if place is None or _place(storage.path) != place:
                        engine.stop(StoreBroken(f"{storage.path} was removed or replaced while the run went on"))
                        return
                    run, owner = engine.scheduler.run, storage.owner
                    kept = await _call(storage, lambda db: renew_lease(db, run, owner, now + LEASE))  # noqa: B023
                    if not kept:
                        engine.stop(RunTaken(run))
                        return
                    renewed = now
                    passing("lease.renewed")
                    _tell(engine, storage)
                elif state != engine.view.state:
                    _tell(engine, storage)
                state = engine.view.state
            except StoreError:
                # The writer says so itself, and the run pauses; what is asked meanwhile waits in the store.
                pass
            await anyio.sleep(LOOK)
    finally:
        reader.close()


def _place(path: Path) -> tuple[int, int] | None:
    """Which file it is; None where there is none. What is written into a removed one is lost."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _tell(engine: Engine, storage: RunStorage) -> None:
    """The run's row says how it goes."""
    engine.events.flush()
    state = "paused" if engine.view.state == "paused" else "running"
    storage.progress(engine.scheduler.run, engine.view, state)


async def _call(storage: RunStorage, fn: Callable[[sqlite3.Connection], T]) -> T:
    return await asyncio.wrap_future(storage.log.call(fn))


async def _carry_out(engine: Engine, storage: RunStorage, reader: Reader) -> None:
    run, now = engine.scheduler.run, engine.clock.now()
    requests: list[Request] = await _call(storage, lambda db: take_commands(db, run, now))
    passing("command.taken")
    for request in requests:
        try:
            if request.verb == "retry":
                engine.events.flush()
                await _call(storage, lambda db: None)  # all that was recorded is on disk
                await restore_tasks(reader, engine.scheduler, steps_of(dict(request.args or {})))
            events, answer = order(request, engine.scheduler, engine.clock.now())
            before = engine.view.state
            for event in events:
                engine.feed(event)
            if engine.view.state != before:
                _tell(engine, storage)  # whoever asked sees it as soon as they are told
            if request.verb == "retry":
                engine.scheduler.forget()
            passing("command.done")
            told = {"ok": True, "seq": engine.scheduler.seq, "answer": answer}
        except UsageError as error:
            told = {"ok": False, "answer": str(error)}
        except (KeyError, TypeError, ValueError) as error:
            told = {"ok": False, "answer": f"{request.verb} is missing or has a wrong {error}"}
        engine.events.flush()
        storage.log.call(partial(answer_command, request=request.id, answer=told))

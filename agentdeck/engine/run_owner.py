"""The owner of a run: renews its lease, carries out commands of other processes, updates the run's row."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio

from agentdeck.engine.engine import Engine
from agentdeck.engine.reopened_steps import restore_tasks, steps_of
from agentdeck.engine.run_storage import LEASE, RunStorage
from agentdeck.errors import StoreError, UsageError
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.commands import Request, answer_command, take_commands
from agentdeck.store.fault_point import reach_fault_point
from agentdeck.store.reader import Reader
from agentdeck.store.runs import renew_lease
from agentdeck.store.sqlite_errors import RunTaken, StoreBroken

#: Seconds between two looks for commands: half of what an operator notices.
LOOK = 0.08


async def hold(engine: Engine, storage: RunStorage) -> None:
    """Runs beside the engine until the run ends. Stops the engine when the lease or the store's file is lost."""
    assert storage.path is not None
    opened = _file_id(storage.path)
    renewed = 0.0
    state = ""
    async with AsyncReader(storage.path) as store:
        while True:
            now = engine.clock.now()
            try:
                waiting, file = await store.read(_look, engine.scheduler.state.run)
                if waiting:
                    await _carry_out(engine, storage, store)
                if now - renewed > LEASE / 3:
                    if opened is None or file != opened:
                        engine.stop(StoreBroken(f"{storage.path} was removed or replaced while the run executed"))
                        return
                    run, owner = engine.scheduler.state.run, storage.owner
                    kept = await storage.call(lambda db: renew_lease(db, run, owner, now + LEASE))  # noqa: B023
                    if not kept:
                        engine.stop(RunTaken(run))
                        return
                    renewed = now
                    reach_fault_point("lease.renewed")
                    _update_row(engine, storage)
                elif state != engine.view.state:
                    _update_row(engine, storage)
                state = engine.view.state
            except StoreError:
                # The writer reports the fault itself, and the run pauses; commands wait in the store meanwhile.
                pass
            await anyio.sleep(LOOK)


def _look(reader: Reader, run: str) -> tuple[bool, tuple[int, int] | None]:
    """Whether commands wait for the run's owner, and which file the store's path leads to now."""
    return bool(reader.commands(run)), _file_id(reader.path)


def _file_id(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file, None if it does not exist. Records written into a removed file are lost."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _update_row(engine: Engine, storage: RunStorage) -> None:
    """Update the run's row."""
    engine.events.flush()
    scheduler, paused = engine.scheduler, engine.view.state == "paused"
    reason = scheduler.state.pause_reason if paused else ""
    storage.progress(scheduler.state.run, engine.view, "paused" if paused else "running", reason)


async def _carry_out(engine: Engine, storage: RunStorage, store: AsyncReader) -> None:
    """Carry out the commands that wait. Once the run has ended none is: `RunStorage.end` refuses the rest."""
    if engine.finished:
        return
    run, now = engine.scheduler.state.run, engine.clock.now()
    requests: list[Request] = await storage.call(lambda db: take_commands(db, run, now))
    reach_fault_point("command.taken")
    for request in requests:
        try:
            if request.verb == "retry":
                engine.events.flush()
                await storage.call(lambda db: None)  # all that was recorded is on disk
                await restore_tasks(store, engine.scheduler, steps_of(dict(request.args or {})))
            if engine.finished:  # by the command before this one, or while its tasks were read
                return
            before = engine.view.state
            answer = engine.carry_out(request)
            if engine.view.state != before:
                _update_row(engine, storage)  # before the answer, so that its sender reads the new state
            if request.verb == "retry":
                engine.scheduler.forget()
            reach_fault_point("command.done")
            result = {"ok": True, "seq": engine.scheduler.state.seq, "answer": answer}
        except UsageError as error:
            result = {"ok": False, "answer": str(error)}
        except (KeyError, TypeError, ValueError) as error:
            result = {"ok": False, "answer": f"{request.verb} is missing or has a wrong {error}"}
        engine.events.flush()
        storage.log.call(partial(answer_command, request=request.id, answer=result))

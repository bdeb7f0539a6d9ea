"""What a run stores: its log, its row, its letters, the durations of its steps."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from agentdeck.errors import StoreError
from agentdeck.processes.children import Children
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.commands import refuse_unanswered
from agentdeck.store.lease import LOCAL_OWNERS
from agentdeck.store.letters import Letter, add_letter, settle_letters
from agentdeck.store.log import Log, MemoryLog, OnCommit, OnFault, TableWrite, call_and_wait
from agentdeck.store.runs import (
    WHOLE_TASK,
    Counts,
    Holding,
    NewRun,
    Owner,
    add_process,
    create_run,
    end_run,
    folder_of,
    release_lease,
    remove_process,
    renew_lease,
    restore_holding,
    save_definition,
    save_durations,
    set_run,
)
from agentdeck.store.tasks import WriteRemainder
from agentdeck.store.writer import Writer
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Data, Definition

T = TypeVar("T")

#: Option of a run: the identities of its sub-workflows by their path.
NESTED = "nested"
#: Seconds for which a lease is valid. It is renewed three times as often.
LEASE = 3.0


class RunStorage:
    """One run's part of the store. Without a file (`durable` False) only `once` and `cache` are recorded, for as
    long as the run lasts."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.durable = path is not None
        self.owner = Owner.here(f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}")
        self._committed: OnCommit = lambda run, seq: None
        self._fault: OnFault = lambda error: None
        self._run = ""  # the run that this process holds
        self.log: Log = MemoryLog()
        if path is not None:  # what is called is set later, by `attach`
            self.log = Writer(path, lambda run, seq: self._committed(run, seq), lambda error: self._fault(error))
        LOCAL_OWNERS.add(self.owner.name)

    def call(self, fn: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Run `fn` in the log's thread. The future is done when it is on disk."""
        return asyncio.wrap_future(self.log.call(fn))

    def attach(self, committed: OnCommit, fault: OnFault) -> None:
        """Set what is called at commits and faults, in the log's thread."""
        self._committed, self._fault = committed, fault

    async def samples(self, definition: Definition, folder: Path) -> dict[str, list[float]]:
        """Seconds of attempts by agent in earlier runs of the workflow with this name in this folder."""
        if self.path is None:
            return {}
        async with AsyncReader(self.path) as store:
            return await store.read(lambda reader: reader.samples(definition.name, str(folder.resolve())))

    async def seconds_elsewhere(self, definition: Definition, folder: Path) -> dict[str, float]:
        """Seconds of agents that only other workflows have measured."""
        if self.path is None:
            return {}
        async with AsyncReader(self.path) as store:
            return await store.read(lambda reader: reader.seconds_elsewhere(definition, str(folder.resolve())))

    async def work(self, workflow: str, folder: Path) -> list[float]:
        """Seconds of work of the newest tasks in earlier runs of the workflow."""
        if self.path is None:
            return []
        async with AsyncReader(self.path) as store:
            return await store.read(lambda reader: reader.work(workflow, str(folder.resolve())))

    def begin(
        self,
        started: ev.RunStarted,
        definition: Definition,
        source: dict[str, Data],
        options: dict[str, Data],
        tags: tuple[str, ...] = (),
        below: Mapping[str, Definition] | None = None,
        tasks: WriteRemainder | None = None,
        known: Sequence[ev.Event] = (),
    ) -> None:
        """Write the run's row, definition, lease and first event in one transaction, which is on disk when this
        returns. `below` are the sub-workflows by their path, recorded for a later resume. `tasks` writes the rest
        of the task list; `known` are events that follow the first."""
        nested = below or {}
        if nested:
            options = {**options, NESTED: {path: one.identity for path, one in nested.items()}}
        new = NewRun(started.run, started.workflow, started.identity, started.at, False, tags, source, options)

        def create(connection: sqlite3.Connection) -> None:
            for one in (definition, *nested.values()):
                save_definition(connection, one)
            create_run(connection, new, self.owner, started.at + LEASE)
            if tasks is not None:
                tasks(connection)

        self.holds(started.run)
        self.log.append(started.run, 1, [started, *known], [create])
        self.log.flush(30)

    def holds(self, run: str) -> None:
        """This process has the run's lease: `close` releases it, unless the run has ended before."""
        self._run = run

    async def hold_on(self, run: str) -> None:
        """Renew the lease until this is cancelled: the engine does not run yet."""
        while True:
            await asyncio.sleep(LEASE / 3)
            await self.call(partial(renew_lease, run=run, owner=self.owner, until=time.time() + LEASE))

    async def leave(self, run: str, before: Holding) -> None:
        """This process does not go on with a run that it has taken: leave it as it was."""
        self._run = ""
        await self.call(lambda db: restore_holding(db, run, self.owner, before))

    def children(self, run: str) -> Children:
        """The child processes of a run, recorded in the same store."""
        if not self.durable:
            return Children()
        call = self.log.call
        return Children(
            lambda child: call(lambda db: add_process(db, run, child)),
            lambda mark: call(lambda db: remove_process(db, mark)),
        )

    @staticmethod
    def letter(run: str, identity: str, action: act.SaveLetter | act.UpdateLetters) -> TableWrite:
        """The write that saves or updates a letter, for the transaction of the events that report it."""
        if isinstance(action, act.UpdateLetters):
            return lambda connection: settle_letters(connection, run, action.task, action.step, action.state)
        at, task, step, agent, fault, inputs, attempts = action
        letter = Letter(run, task, step, agent, identity, fault, inputs, attempts, at)
        return lambda connection: add_letter(connection, letter)

    def progress(self, run: str, view: RunView, state: str, pause_reason: str) -> None:
        """Update the run's row."""
        counts, idle, simulated = counts_of(view), view.idle, view.simulated
        write = partial(set_run, run=run, state=state, counts=counts, simulated=simulated, idle=idle)
        self.log.call(partial(write, pause_reason=pause_reason))

    def end(self, run: str, state: str, view: RunView, work: Sequence[float] = ()) -> None:
        """The run has ended or drained: update its row, and record its usage and the durations of its steps,
        with the seconds of `work` of each task where they were counted."""
        if self.path is None:
            return
        counts, used = counts_of(view), summary_of(view)
        seconds = {name: list(totals.durations.last) for name, totals in view.agents.items()}

        def close(connection: sqlite3.Connection) -> None:
            set_run(connection, run, simulated=view.simulated, idle=view.idle)
            end_run(connection, run, state, view.now, counts, used)
            why = f"{run} has ended ({state})" if state != "drained" else f"{run} was drained before this"
            refuse_unanswered(connection, run, view.now, why)
            if state != "drained":  # a resumed run records them at its end
                folder = folder_of(connection, run)
                save_durations(connection, view.workflow, folder, {**seconds, WHOLE_TASK: work})

        call_and_wait(self.log, close)
        self._run = ""

    def flush(self) -> None:
        """Return when everything handed over is on disk. Raises StoreError; a store that fails now is not waited
        for again."""
        self.log.flush(10.0 if self.log.fault is None else 1.0)

    def close(self) -> None:
        """Release the run and close the log. Raises StoreError where something could not be written. A store
        that fails now is not waited for again."""
        run, owner = self._run, self.owner
        if run:
            with suppress(StoreError):
                self.log.call(lambda connection: release_lease(connection, run, owner))
        LOCAL_OWNERS.discard(owner.name)
        self.log.close(10.0 if self.log.fault is None else 1.0)


def counts_of(view: RunView) -> Counts:
    tasks = view.tasks
    total = tasks.total or max(tasks.given or 0, tasks.opened)
    return Counts(total, tasks.done, tasks.failed, tasks.cancelled)


def summary_of(view: RunView) -> dict[str, Data]:
    """What a run used, to forecast the next one."""
    agents: dict[str, Data] = {
        name: {"attempts": totals.attempts, "tokens_in": totals.tokens_in, "tokens_out": totals.tokens_out}
        for name, totals in view.agents.items()
        if totals.tokens_in is not None
    }
    return {"usd": view.usd, "agents": agents}

"""Looks, from a thread of its own, whether the loop of a run still turns.

An agent that never yields holds up everything that lives in the loop: other agents, clocks, commands, the lease.
This keeps the lease meanwhile, so that nobody else takes the run up while it is being run, says who it is, and
ends that attempt when its own clock has run out.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from agentdeck.agents.loop_interrupt import interrupt
from agentdeck.engine.attempts import AttemptKey
from agentdeck.engine.engine import Engine
from agentdeck.engine.log_lines import LogLine
from agentdeck.engine.run_storage import LEASE, RunStorage
from agentdeck.errors import StoreError
from agentdeck.store.runs import renew_lease

LOOK = 0.25
#: For so long a loop may stand still without a word.
LONG = 1.0


class Watchdog:
    """`with Watchdog(…):` around the engine's run."""

    def __init__(self, engine: Engine, storage: RunStorage, say: Callable[[str], None] | None) -> None:
        self._engine = engine
        self._storage = storage
        self._say = say
        self._over = threading.Event()
        self._told: AttemptKey | None = None

    def __enter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._engine.last_turn = time.monotonic()
        threading.Thread(target=self._look, name="agentdeck-watchdog", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _look(self) -> None:
        renewed = 0.0
        while not self._over.wait(LOOK):
            now = time.monotonic()
            still = now - self._engine.last_turn
            if still < LEASE / 3:
                self._told = None
                continue
            if now - renewed > LEASE / 3:
                renewed = now
                self._keep_lease()
            if still >= LONG:
                self._end_or_tell(still)

    def _keep_lease(self) -> None:
        if not self._storage.durable:
            return
        run, owner, until = self._engine.scheduler.run, self._storage.owner, self._engine.clock.now() + LEASE
        try:
            self._storage.log.call(lambda db: renew_lease(db, run, owner, until))
        except StoreError:
            self._over.set()  # the writer is closed: the run is over

    def _end_or_tell(self, still: float) -> None:
        task = asyncio.current_task(self._loop)
        found = self._engine.attempts.running_in(task) if task is not None else None
        if found is None:  # what holds it up is not an agent
            return
        key, due = found
        ended = due is not None and self._engine.clock.now() >= due and interrupt()
        if ended or key == self._told:
            return
        self._told = key
        where, step, _ = key
        text = (
            f"{step} holds up everything else: it is async and has not awaited for {still:.0f} s; "
            "make it a plain function (def), which gets a thread of its own"
        )
        line = LogLine(self._engine.clock.now(), *key, "warning", text)
        try:
            self._storage.log.log(self._engine.scheduler.run, [line])
        except StoreError:
            return
        if self._say is not None:
            self._say(f"task {where}: {text}")

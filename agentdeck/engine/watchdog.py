"""Checks, from a thread of its own, whether the event loop of a run is blocked.

An agent that never yields blocks everything on the loop: other agents, clocks, commands, the lease. Meanwhile
the watchdog renews the lease, so that no other process resumes the run, reports the agent, and interrupts its
attempt when the attempt's clock has run out."""

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

#: Seconds between two checks.
LOOK = 0.25
#: Seconds for which a loop may be blocked before that is reported.
LONG = 1.0


class Watchdog:
    """`with Watchdog(…):` around the engine's run."""

    def __init__(self, engine: Engine, storage: RunStorage, say: Callable[[str], None] | None) -> None:
        self._engine = engine
        self._storage = storage
        self._say = say
        self._over = threading.Event()
        self._reported: AttemptKey | None = None

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
            blocked = now - self._engine.last_turn
            if blocked < LEASE / 3:
                self._reported = None
                continue
            if now - renewed > LEASE / 3:
                renewed = now
                self._renew_lease()
            if blocked >= LONG:
                self._end_or_report(blocked)

    def _renew_lease(self) -> None:
        if not self._storage.durable:
            return
        run, owner = self._engine.scheduler.state.run, self._storage.owner
        until = self._engine.clock.now() + LEASE
        try:
            self._storage.log.call(lambda db: renew_lease(db, run, owner, until))
        except StoreError:
            self._over.set()  # the writer is closed: the run is over

    def _end_or_report(self, blocked: float) -> None:
        task = asyncio.current_task(self._loop)
        found = self._engine.attempts.running_in(task) if task is not None else None
        if found is None:  # what holds it up is not an agent
            return
        key, due = found
        ended = due is not None and self._engine.clock.now() >= due and interrupt()
        if ended or key == self._reported:
            return
        self._reported = key
        where, step, _ = key
        text = (
            f"{step} blocks all other steps: it is async and has not awaited for {blocked:.0f} s; "
            "make it a plain function (def), which runs in a thread of its own"
        )
        line = LogLine(self._engine.clock.now(), *key, "warning", text)
        try:
            self._storage.log.log(self._engine.scheduler.state.run, [line])
        except StoreError:
            return
        if self._say is not None:
            self._say(f"task {where}: {text}")

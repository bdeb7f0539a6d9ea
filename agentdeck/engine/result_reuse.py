"""Reuse of recorded results: `once` for good, `cache` for a while."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime
from functools import partial

import anyio.to_thread

from agentdeck.agents.template_rendering import render
from agentdeck.agents.verb import AttemptContext, Verb, VerbResult
from agentdeck.engine.clock import Clock
from agentdeck.engine.run_storage import RunStorage
from agentdeck.errors import StepError, StepLost, StoreError
from agentdeck.store.fault_point import reach_fault_point
from agentdeck.store.once import (
    Claim,
    Holder,
    cache_get,
    cache_put,
    once_claim,
    once_done,
    once_mark_unknown,
    once_release,
    once_state,
)
from agentdeck.workflow.agent_kind import kind_of
from agentdeck.workflow.expressions import LIGHT, Template
from agentdeck.workflow.json_text import json_text, room_left
from agentdeck.workflow.model import Data, plain

#: Characters of what an agent does that are recorded with a key.
MOST_DESCRIBED = 300


class Deferred(Exception):
    """Another step holds the key of this one, which has to wait for it, without a worker."""

    def __init__(self, key: str, why: str) -> None:
        self.key = key
        self.why = why
        super().__init__(why)


class ResultReuse:
    """Runs the verbs of agents with `once` or `cache`.

    `once`: the intent is on disk before the effect begins, the result before anything reads it. A step whose key
    is held by a running step of any run or process is deferred until that step has ended. A process that died,
    or an attempt that was cancelled, leaves an intent without a result: whether it took effect is not known, so
    the step fails with `unknown`, and an operator decides."""

    def __init__(self, storage: RunStorage, run: str, clock: Clock) -> None:
        self._storage = storage
        self._run = run
        self._clock = clock
        #: Keys that attempts of this engine hold; changed in the writer's transactions, so consistent with the
        #: store.
        self.live: set[str] = set()
        #: Called when an attempt of this engine has released a key.
        self.released: Callable[[], None] = lambda: None

    async def run(
        self, verb: Verb, work: AttemptContext, check: Callable[[Data], Data] | None = None
    ) -> tuple[Data | VerbResult, bool]:
        """The result, and whether it was reused. A result that fails the `check` is not cached; a `once` effect
        is recorded whether its result passes or not. Raises Deferred."""
        if work.agent.once is not None:
            key = await render(Template(work.agent.once), work.scope)
            return await self._once(key if isinstance(key, str) else json.dumps(key), verb, work)
        return await self._cached(verb, work, check)

    async def look(self, keys: Collection[str]) -> dict[str, str]:
        """The state of each key: new, held, done or unknown."""
        return await self._storage.call(
            lambda db: {key: self._state(key, once_state(db, key)).state for key in keys}
        )

    async def _once(self, key: str, verb: Verb, work: AttemptContext) -> tuple[Data | VerbResult, bool]:
        what = kind_of(work.agent).described(work.agent)[:MOST_DESCRIBED]
        me = Holder(self._run, f"{work.task}/{work.step}", work.attempt, self._storage.owner.name, what)
        claim = await self._claim(key, me)
        if claim.state == "done":
            return claim.result, True
        if claim.state == "held":
            task, _, step = claim.holder.step.rpartition("/")
            why = f"waits for once key {key}, held by step {step} of task {task} of run {claim.holder.run}"
            raise Deferred(key, why)
        if claim.state == "unknown":
            message, detail = unknown(key, claim)
            raise StepError("unknown", message, detail=detail, once_key=key)
        reach_fault_point("once.claimed")
        try:
            answer = await verb.run(work)
        except StepLost:
            # It may have taken effect before it was lost. The next attempt finds that this is unknown.
            await self._release_key(key, lambda db: once_mark_unknown(db, key))
            self.released()
            raise
        except Exception:
            # The verb raised an error, which says that it had no effect.
            await self._release_key(key, lambda db: once_release(db, key, me))
            self.released()
            raise
        except BaseException:
            with suppress(StoreError):
                self._release_key(key, lambda db: once_mark_unknown(db, key))
            self.released()
            raise
        output = answer.output if isinstance(answer, VerbResult) else answer
        reach_fault_point("once.effected")
        await self._release_key(key, lambda db: once_done(db, key, output))
        reach_fault_point("once.done")
        self.released()
        return answer, False

    async def _claim(self, key: str, me: Holder) -> Claim:
        at = self._clock.now()

        def claim(db: sqlite3.Connection) -> Claim:
            found = self._state(key, once_claim(db, key, me, at))
            if found.state == "new":
                self.live.add(key)
            return found

        try:
            return await asyncio.shield(self._storage.call(claim))
        except asyncio.CancelledError:
            with suppress(StoreError):
                self._storage.log.call(lambda db: self._undo_claim(db, key, me))
            self.released()
            raise

    def _undo_claim(self, db: sqlite3.Connection, key: str, me: Holder) -> None:
        """The attempt was cancelled before it began."""
        if once_state(db, key).holder == me:
            once_release(db, key, me)
            self.live.discard(key)

    def _state(self, key: str, claim: Claim) -> Claim:
        """An intent of this process without a running attempt is treated like that of a dead process."""
        if claim.state in ("held", "unknown") and claim.holder.owner == self._storage.owner.name:
            return claim._replace(state="held" if key in self.live else "unknown")
        return claim

    def _release_key(self, key: str, record: Callable[[sqlite3.Connection], None]) -> asyncio.Future[None]:
        """Record the end of an attempt and release its key. The future is done when that is on disk."""

        def release(db: sqlite3.Connection) -> None:
            record(db)
            self.live.discard(key)

        return self._storage.call(release)

    async def _cached(
        self, verb: Verb, work: AttemptContext, check: Callable[[Data], Data] | None
    ) -> tuple[Data | VerbResult, bool]:
        seconds = work.agent.cache
        assert seconds is not None
        read = {"agent": plain(work.agent), "with": work.with_, **{n: work.scope.get(n) for n in _READ}}
        key = _hash(read) if room_left(read, LIGHT) >= 0 else await anyio.to_thread.run_sync(_hash, read)
        now = self._clock.now()
        cached = await self._storage.call(lambda db: cache_get(db, key, now))
        if cached.found:
            return cached.value, True
        answer = await verb.run(work)
        output = answer.output if isinstance(answer, VerbResult) else answer
        if check is not None:
            output = check(output)
        self._storage.log.call(lambda db: cache_put(db, key, output, self._clock.now(), seconds))
        return answer, False


def _hash(read: Data) -> str:
    """The hash of plain data, whatever the order of its keys."""
    dump = partial(json.dumps, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(json_text(read, dump=dump, sort=True).encode()).hexdigest()


#: What a result depends on besides the agent itself and its `with`.
_READ = ("inputs", "needs", "item", "previous")


def unknown(key: str, claim: Claim) -> tuple[str, str]:
    """The message and the detail for a step whose key was claimed and has no result."""
    holder = claim.holder
    task, _, step = holder.step.rpartition("/")
    at = datetime.fromtimestamp(claim.at).astimezone().isoformat(" ", "seconds")
    message = (
        f"once {key}: step {step} of task {task} of run {holder.run} started it and did not report a result; "
        "it may have taken effect"
    )
    lines = [
        "Check whether it took effect:",
        f"  key      {key}",
        f"  run      {holder.run}, task {task}, step {step}, attempt {holder.attempt or 'unknown'}",
        f"  started  {at}",
        f"  action   {holder.what or 'unknown'}",
    ]
    return message, "\n".join(lines)

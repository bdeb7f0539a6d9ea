"""Results that are had already: `once` for good, `cache` for a while."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from functools import partial

import anyio.to_thread

from agentdeck.agents.rendering import LIGHT
from agentdeck.agents.verb import Answer, Verb, Work
from agentdeck.engine.clock import Clock
from agentdeck.engine.storage import Storage
from agentdeck.errors import StepError
from agentdeck.store.faultpoint import passing
from agentdeck.store.once import cache_get, cache_put, once_claim, once_done, once_undone
from agentdeck.workflow.json_text import json_text, room_left
from agentdeck.workflow.model import Data, plain
from agentdeck.workflow.values import compile_template


class Reuse:
    """Stands before the verb of an agent with `once` or `cache`.

    `once`: the intent is on disk before the effect begins, the result before anything reads it. A process that
    died in between leaves an intent without a result: nobody knows whether it took effect, so the step fails with
    `unknown` rather than doing it twice; a person decides.
    """

    def __init__(self, storage: Storage, run: str, clock: Clock) -> None:
        self._storage = storage
        self._run = run
        self._clock = clock

    async def run(
        self, verb: Verb, work: Work, fit: Callable[[Data], Data] | None = None
    ) -> tuple[Data | Answer, bool]:
        """The answer, and whether it was had already. What does not `fit` is never cached; what took effect once
        did so whether it fits or not."""
        if work.agent.once is not None:
            key = compile_template(work.agent.once).render(work.scope)
            return await self._once(key if isinstance(key, str) else json.dumps(key), verb, work)
        return await self._cached(verb, work, fit)

    async def _once(self, key: str, verb: Verb, work: Work) -> tuple[Data | Answer, bool]:
        call, at = self._storage.log.call, self._clock.now()
        step = f"{work.task}/{work.step}"
        claim = await asyncio.wrap_future(call(lambda db: once_claim(db, key, self._run, step, at)))
        if claim.state == "done":
            return claim.result, True
        if claim.state == "unknown":
            raise StepError(
                "unknown",
                f"once {key}: {claim.run} {claim.step} began it and told nothing since; "
                "whether it took effect is not known. Look, then retry or drop the letter",
            )
        passing("once.claimed")
        try:
            answer = await verb.run(work)
        except Exception:
            # The verb came back with an error: it told us that it did not do it.
            await asyncio.wrap_future(call(lambda db: once_undone(db, key)))
            raise
        output = answer.output if isinstance(answer, Answer) else answer
        passing("once.effected")
        await asyncio.wrap_future(call(lambda db: once_done(db, key, output)))
        passing("once.done")
        return answer, False

    async def _cached(
        self, verb: Verb, work: Work, fit: Callable[[Data], Data] | None
    ) -> tuple[Data | Answer, bool]:
        seconds, call = work.agent.cache, self._storage.log.call
        assert seconds is not None
        read = {"agent": plain(work.agent), "with": work.with_, **{n: work.scope.get(n) for n in _READ}}
        key = _hash(read) if room_left(read, LIGHT) >= 0 else await anyio.to_thread.run_sync(_hash, read)
        now = self._clock.now()
        cached = await asyncio.wrap_future(call(lambda db: cache_get(db, key, now)))
        if cached.found:
            return cached.value, True
        answer = await verb.run(work)
        output = answer.output if isinstance(answer, Answer) else answer
        if fit is not None:
            output = fit(output)
        call(lambda db: cache_put(db, key, output, self._clock.now(), seconds))
        return answer, False


def _hash(read: Data) -> str:
    """The hash of plain data, whatever the order of its keys."""
    dump = partial(json.dumps, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(json_text(read, dump=dump, sort=True).encode()).hexdigest()


#: What a result depends on besides the agent itself and its `with`.
_READ = ("inputs", "needs", "item", "previous")

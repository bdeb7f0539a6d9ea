"""Calls code that is not agentdeck's: what it raises or returns may fail one attempt, never the run."""

from __future__ import annotations

import asyncio
from typing import Any

from agentdeck.agents.agent_errors import step_error
from agentdeck.agents.loop_interrupt import LoopBlocked, foreign
from agentdeck.agents.plain_data import data_of
from agentdeck.agents.verb import AttemptContext, Verb, VerbResult
from agentdeck.errors import StepError
from agentdeck.providers.provider import count_fault
from agentdeck.scheduler.events import Usage
from agentdeck.workflow.model import Data


class PluginVerb:
    """The runner of a plugin. What it returns is converted to plain data; those of agentdeck return that."""

    def __init__(self, verb: Verb) -> None:
        self._verb = verb

    @foreign
    async def run(self, work: AttemptContext) -> Data | VerbResult:
        try:
            result: Any = await self._verb.run(work)
            if not isinstance(result, VerbResult):
                return await data_of(result)
            return VerbResult(await data_of(result.output), _checked(result.usage))
        except BaseException as error:
            raise contained(error) from None


def _checked(usage: Any) -> Usage | None:
    """The usage that a runner reports. Raises StepError of kind `invalid` for one that cannot be recorded."""
    if usage is None:
        return None
    if not isinstance(usage, Usage):
        raise StepError("invalid", f"the usage is of type {type(usage).__name__}, not Usage")
    for name in ("tokens_in", "tokens_out", "cached_in"):
        if what := count_fault(getattr(usage, name)):
            raise StepError("invalid", f"the usage is wrong: {name} is {what}")
    for name in ("usd", "usd_reasoning"):
        value = getattr(usage, name)
        if value is not None and not (isinstance(value, int | float) and 0 <= value < float("inf")):
            raise StepError("invalid", f"the usage is wrong: {name} is {value!r:.60}, not an amount")
    return usage


def contained(error: BaseException) -> BaseException:
    """What to raise in the place of an error of an agent's own code: a StepError, also for SystemExit,
    KeyboardInterrupt and GeneratorExit. A cancellation of the attempt stays one."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is None or task.cancelling():
            return error
        # This attempt was not cancelled: the agent awaited something of its own that was.
    if isinstance(error, LoopBlocked):
        what = "never awaited, so no other step could run; make it a plain function (def)"
        return StepError("timeout", f"{what} (attempt timeout)", clock="attempt")
    return step_error(error)

"""Calls an object of a framework: its inner steps are recorded, its questions end the attempt."""

from __future__ import annotations

import json
import threading
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from hashlib import blake2b
from typing import Any

from agentdeck.agents.checkpoints import checkpoint_file
from agentdeck.agents.frameworks.framework import Asked, CallInput, Framework, Result
from agentdeck.agents.function_call import everything
from agentdeck.agents.inner_record import InnerRecord, PriceOf, no_price
from agentdeck.agents.plain_data import excerpt, to_data
from agentdeck.agents.verb import AttemptContext, WorkflowContext
from agentdeck.errors import StepAsks, StepError
from agentdeck.workflow.model import Data

#: Calls a function in a thread, for an attempt: the event is set when the attempt is cancelled.
InThread = Callable[[AttemptContext, threading.Event, Callable[[], Any]], Awaitable[Any]]
LONGEST_QUESTION = 20_000


class ObjectCaller:
    """Calls the objects of one agent. `target` is what the agent names."""

    def __init__(self, target: str, context: WorkflowContext, in_thread: InThread) -> None:
        self._target = target
        self._context = context
        self._in_thread = in_thread
        self._price_of = _price_of(context)

    async def call(self, framework: Framework, found: Any, work: AttemptContext) -> Any:
        """The result of an object. Raises StepAsks where it has questions."""
        record, asked = InnerRecord(work, self._price_of), list[Asked]()
        cancelled = threading.Event()

        async def in_thread(call: Callable[[], Any]) -> Any:
            return await self._in_thread(work, cancelled, call)

        values = everything(work.scope, work.with_)
        given = CallInput(
            values, in_thread, thread_of(work, values), checkpoint_file(self._context).path, work.answers
        )
        try:
            async with aclosing(framework.call(found, given)) as events:
                async for event in events:
                    if isinstance(event, Result):
                        return event.value
                    if isinstance(event, Asked):
                        asked.append(event)
                    else:
                        record.apply(event)
        finally:
            record.close()
        if asked:
            raise StepAsks([_question(one) for one in asked], record.usage())
        raise StepError("exception", f"{self._target} ended without a result")


def thread_of(work: AttemptContext, values: dict[str, Any]) -> str:
    """The name of this piece of work: the same in every attempt, another one for other inputs."""
    digest = blake2b(json.dumps(values, sort_keys=True, default=str).encode(errors="replace"), digest_size=6)
    return f"{work.run}/{work.task}/{work.step}/{work.round}-{digest.hexdigest()}"


def _question(asked: Asked) -> dict[str, Data]:
    question: dict[str, Data] = {"id": str(asked.id), "text": str(asked.question)[:LONGEST_QUESTION]}
    if asked.schema is not None:
        question["schema"] = to_data(dict(asked.schema))
    if asked.shows is not None:
        question["shows"] = excerpt(asked.shows)
    return question


def _price_of(context: WorkflowContext) -> PriceOf:
    """The prices of the deck's models, which a framework knows by the name in the deck or by the model's id."""
    models = context.deck.models
    if not models:
        return no_price
    by_id = {model.id: name for name, model in models.items()}

    def price(model: str, tokens_in: int | None, tokens_out: int | None, cached_in: int | None) -> float | None:
        from agentdeck.providers.model_facts import Prices

        name = model if model in models else by_id.get(model, "")
        return Prices(context.deck).usd(name, tokens_in, tokens_out, cached_in)

    return price

"""The order in which the steps of a run start, searched when it is launched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter

from anyio import to_thread

from agentdeck.workflow.model import Definition


async def searched_order(
    definition: Definition, samples: Mapping[str, Sequence[float]], workers: int, run: str
) -> tuple[str, ...]:
    """The agents in the order in which the steps of the run's one task should start, by the `samples` of their
    seconds in earlier runs. Empty where the longest remaining path first is as good, or where no order can be
    searched. The search is in a thread, and draws random numbers by the name of the run."""

    if not samples:
        return ()
    from agentdeck.scheduler.order_search import BRIEFLY, search_order

    def search() -> tuple[str, ...]:
        until = perf_counter() + BRIEFLY
        return search_order(definition, samples, workers, run, lambda: perf_counter() < until).agents

    return await to_thread.run_sync(search)

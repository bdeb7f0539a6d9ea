"""What an engine does must not grow with the size of its run."""

from __future__ import annotations

import gc

import pytest

from agentdeck import Workflow
from agentdeck.engine import attempts
from agentdeck.scheduler.state import Step
from agentdeck.workflow.json_text import estimated_size
from agentdeck.workflow.model import Data

pytestmark = pytest.mark.anyio


async def test_what_items_read_is_weighed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed: list[int] = []

    def count(value: Data) -> int:
        weighed.append(estimated_size(value))
        return weighed[-1]

    monkeypatch.setattr(attempts, "estimated_size", count)
    work = Workflow("work")

    @work.agent
    def names() -> list[str]:
        return ["name"] * 300

    @work.agent(needs="names", each="names")
    def upper(item: str) -> str:
        return item.upper()

    @work.agent(needs="upper")
    def count_all(upper: list[str]) -> int:
        return len(upper)

    result = await work.run()
    assert result.output == 300
    assert len(weighed) == 3  # names, the items together, count_all


async def test_ended_tasks_do_not_wait_for_the_collector() -> None:
    work = Workflow("work")

    @work.agent
    def text(n: int) -> str:
        return "x" * n

    @work.agent(needs="text")
    def size(text: str) -> int:
        return len(text)

    gc.collect()
    gc.disable()
    try:
        before = sum(type(one) is Step for one in gc.get_objects())
        await work.run(tasks=[{"n": n} for n in range(200)], workers=4)
        after = sum(type(one) is Step for one in gc.get_objects())
    finally:
        gc.enable()
    assert after - before <= 20

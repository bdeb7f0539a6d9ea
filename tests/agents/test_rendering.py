"""Templates are filled in beside the loop where their values are large."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest

from agentdeck.agents.template_rendering import render, render_text
from agentdeck.errors import StepError
from agentdeck.workflow.expressions import Template, is_light
from agentdeck.workflow.url import UrlTemplate

pytestmark = pytest.mark.anyio
LARGE = [{"n": i} for i in range(100_000)]


@pytest.fixture
async def ticks() -> AsyncIterator[Callable[[], int]]:
    """How often the loop went round."""
    count = 0

    async def tick() -> None:
        nonlocal count
        while True:
            await asyncio.sleep(0)
            count += 1

    ticker = asyncio.create_task(tick())
    yield lambda: count
    ticker.cancel()


async def test_small_values_are_written_at_once(ticks: Callable[[], int]) -> None:
    before = ticks()
    assert await render_text(Template("${a.b} ${c}"), {"a": {"b": [1]}, "d": LARGE}) == "[1] "
    assert await render(Template({"k": "${a}"}), {"a": 1}) == {"k": 1}
    assert ticks() == before


@pytest.mark.parametrize("template", ["${a}", "all: ${a}", {"k": "all: ${a}"}])
async def test_large_values_do_not_hold_up_the_loop(ticks: Callable[[], int], template: object) -> None:
    before = ticks()
    assert len(await render_text(Template(template), {"a": LARGE})) >= len(json.dumps(LARGE))
    assert ticks() > before


async def test_a_url_with_a_large_value_does_not_hold_up_the_loop(ticks: Callable[[], int]) -> None:
    before = ticks()
    url = UrlTemplate("http://127.0.0.1/${a}")
    assert len(await render(url, {"a": "é" * 300_000})) > 300_000
    assert ticks() > before
    with pytest.raises(StepError, match="division by zero"):
        await render(UrlTemplate("http://127.0.0.1/${1 / 0}"), {})


async def test_what_is_looked_at_is_what_the_template_reads() -> None:
    template = Template("${a.small} ${needs.b}")
    assert is_light(template.references, {"a": {"small": 1, "large": LARGE}, "needs": {"b": "x"}})
    assert not is_light(template.references, {"a": {"small": 1}, "needs": {"b": LARGE}})
    assert not is_light(template.references, {"a": {"small": [10**4000] * 10}})


async def test_a_template_that_cannot_be_rendered_is_a_fault_in_both_places() -> None:
    for value in (1, LARGE):
        for function in (render, render_text):
            with pytest.raises(StepError, match="division by zero") as caught:
                await function(Template("${len(a) or 1 / 0} ${1 / 0}"), {"a": [value]})
            assert caught.value.fault.kind == "expression"

"""`Workflow.agent` with what is no plain function."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import pytest

from agentdeck import Workflow
from agentdeck.workflow.model import Data

pytestmark = pytest.mark.anyio


class ReviewGraph:
    """As a compiled graph of a framework: no name, no call, a method that takes one map."""

    async def ainvoke(self, given: Mapping[str, Data]) -> Data:
        return {"seen": sorted(given)}


class Doubler:
    def __call__(self, first: int) -> int:
        return 2 * first


async def test_an_object_of_a_framework_is_an_agent() -> None:
    made = Workflow("made", output="${review_graph}")
    graph = ReviewGraph()

    @made.agent
    def first(n: int) -> int:
        return n

    assert made.agent(graph, needs="first") is graph
    result = await made.run(n=3)
    assert result.output == {"seen": ["first", "n"]}


async def test_an_object_may_be_given_a_name() -> None:
    made = Workflow("made", inputs={"n": "integer"}, output="${one}")
    made.agent(ReviewGraph(), name="one")
    with pytest.raises(ValueError, match="give this one a name="):
        made.agent(ReviewGraph(), name="one")
    assert (await made.run(n=1)).output == {"seen": ["n"]}


def test_an_object_without_a_module() -> None:
    work = Workflow("work")
    work.agent((1).__add__, name="add", with_={"value": 2})
    assert work.definition.agents["add"].name == "add"


async def test_a_partial_and_a_callable_object() -> None:
    made = Workflow("made", output="${doubler}")

    def first(n: int, more: int) -> int:
        return n + more

    made.agent(functools.partial(first, more=1))
    made.agent(Doubler())
    assert (await made.run(n=3)).output == 8


class Clerk:
    def __init__(self, name: str) -> None:
        self._name = name

    async def sign(self, n: int) -> str:
        return f"{self._name} {n}"


async def test_a_bound_method_is_an_agent() -> None:
    made = Workflow("made", output="${sign}")
    made.agent(Clerk("Ada").sign)
    assert (await made.run(n=3)).output == "Ada 3"


@pytest.mark.parametrize("found", [3, {"a": 1}, object(), None])
def test_what_cannot_be_called_is_refused_where_it_is_added(found: object) -> None:
    made = Workflow("made")
    with pytest.raises(TypeError, match=f"a {type(found).__name__} cannot be called; name a function, or an obj"):
        made.agent(name="it")(found)
    assert made.functions == {}

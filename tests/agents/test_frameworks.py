"""Objects of frameworks: recognised by their own class, called by the adapter of their framework."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentdeck.agents.frameworks.known import framework_of, loaded
from agentdeck.agents.frameworks.methods import ObjectsWithMethods
from agentdeck.agents.python import Python
from agentdeck.agents.python_runner import PythonVerb
from agentdeck.agents.verb import AttemptContext, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.workflow.model import Agent, Data, Definition
from tests.plugin_packages import installed, write_package

pytestmark = pytest.mark.anyio

ACME = """
    from agentdeck.agents.frameworks.framework import Framework, Result

    class Acme(Framework):
        def recognises(self, found):
            return type(found).__name__ == "AcmeGraph"

        async def call(self, found, given):
            if given.values.get("quietly"):
                return
            value = await given.in_thread(lambda: found.play(given.values))
            yield Result({"played": value})
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    entries = {"acme": "acme_frameworks:Acme", "broken": "acme_gone:Acme", "list": "builtins:list"}
    write_package(tmp_path, "acme", {"frameworks": entries}, {"acme_frameworks": ACME})
    with installed(tmp_path, monkeypatch):
        yield
    sys.modules.pop("acme_frameworks", None)


async def call(found: Any, **with_: Data) -> Any:
    agent = Agent("a", Python("shop:f"))
    verb = PythonVerb(agent, WorkflowContext(Definition("w", {"a": agent}), Path(), anyio.sleep, {"a": found}))
    scope: dict[str, Data] = {"inputs": {"n": 1}, "needs": {}, "run": "r", "task": "t"}
    return await verb.run(AttemptContext("r", "t", "a", 1, agent, scope, with_, lambda *_: None, lambda: None))


class AcmeGraph:
    """Of a framework, and it has what the fallback looks for, and it is callable."""

    def play(self, values: dict[str, Data]) -> Data:
        return [values["n"], values.get("x")]

    def invoke(self, values: Data) -> Data:
        raise AssertionError

    def __call__(self) -> Data:
        return "called"


class Later:
    async def ainvoke(self, values: Data) -> Data:
        return ["later", values]


class InThread:
    def kickoff(self, values: Data) -> Data:
        return ["in a thread", values]


class Awaitable:
    def run(self, values: Data) -> Any:
        return Later().ainvoke(values)


async def test_the_framework_of_an_object_comes_before_its_methods(acme: None) -> None:
    assert await call(AcmeGraph(), x=2) == {"played": [1, 2]}
    assert type(framework_of(Later())) is ObjectsWithMethods
    assert type(loaded().objects["acme"]).__name__ == "Acme"
    assert not loaded().objects.keys() & {"broken", "list"}


async def test_without_its_framework_an_object_is_called_or_has_a_method() -> None:
    assert framework_of(AcmeGraph()) is None
    assert await call(AcmeGraph()) == "called"


@pytest.mark.parametrize(
    ("found", "got"),
    [
        (Later(), ["later", {"n": 1, "x": 2}]),
        (InThread(), ["in a thread", {"n": 1, "x": 2}]),
        (Awaitable(), ["later", {"n": 1, "x": 2}]),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_an_object_with_a_method_of_a_usual_name(found: Any, got: Data) -> None:
    assert await call(found, x=2) == got


async def test_an_adapter_that_ends_without_a_result_fails_the_step(acme: None) -> None:
    with pytest.raises(StepError, match="shop:f ended without a result"):
        await call(AcmeGraph(), quietly=True)


async def test_a_class_makes_the_object_also_with_options_of_its_own(acme: None) -> None:
    class WithOptions:
        play = AcmeGraph.play

        def __init__(self, depth: int = 1) -> None:
            self.depth = depth

    assert await call(AcmeGraph, x=2) == {"played": [1, 2]}
    assert await call(type("AcmeGraph", (WithOptions,), {}), x=2) == {"played": [1, 2]}


async def test_functions_and_what_is_like_them_belong_to_no_framework(acme: None) -> None:
    for found in (len, AcmeGraph, AcmeGraph().play, lambda: None):
        assert framework_of(found) is None


@pytest.mark.parametrize("found", [3, None, {"a": 1}, object()])
def test_what_cannot_be_called_is_refused_at_once(found: Any) -> None:
    with pytest.raises(TypeError, match="cannot be called; name a function, or an object of a framework"):
        framework_of(found)


def test_an_object_whose_attributes_raise_is_not_recognised() -> None:
    class Lazy:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    with pytest.raises(TypeError, match="a Lazy cannot be called"):
        framework_of(Lazy())

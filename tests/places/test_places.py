"""Places: each attempt is executed by the place of its agent, and built-in places are plugins like any other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from agentdeck import Workflow
from agentdeck.agents.verb import Verb, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.places.local import LocalPlace
from agentdeck.places.place import Places, loaded
from agentdeck.workflow.model import Agent
from tests.plugin_packages import installed, write_package

pytestmark = pytest.mark.anyio

ACME = """
    from agentdeck.places.place import Place

    closed = []

    class Elsewhere(Place):
        def prepare(self, agent, context):
            return Executes(agent.name)

        async def close(self):
            closed.append(self)

    class Executes:
        def __init__(self, name):
            self.name = name

        async def run(self, work):
            return f"{self.name} elsewhere"

    class Unfinished(Place):
        pass
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    entries = {
        "elsewhere": "acme_places:Elsewhere",
        "local": "acme_places:Elsewhere",
        "missing": "acme_places:Nowhere",
        "unfinished": "acme_places:Unfinished",
        "list": "builtins:list",
    }
    write_package(tmp_path, "acme", {"places": entries}, {"acme_places": ACME})
    with installed(tmp_path, monkeypatch):
        yield
    sys.modules.pop("acme_places", None)


async def test_the_engine_takes_each_agent_to_its_place_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[str] = []
    prepare = LocalPlace.prepare

    def noted(place: LocalPlace, agent: Agent, context: WorkflowContext) -> Verb:
        prepared.append(agent.name)
        return prepare(place, agent, context)

    monkeypatch.setattr(LocalPlace, "prepare", noted)
    made = Workflow("made")

    @made.agent
    def first(n: int) -> int:
        return n

    @made.agent
    def second(first: int) -> int:
        return first + 1

    await made.run(tasks=[{"n": n} for n in range(5)])
    assert sorted(prepared) == ["first", "second"]


async def test_a_place_of_another_package_executes_attempts_and_is_closed(acme: None) -> None:
    places = Places()
    place = places.find("elsewhere")
    assert places.find("elsewhere") is place
    made = Workflow("made")
    made.add("a", simulate="1s")
    agent = made.definition.agents["a"]
    context = WorkflowContext(made.definition, Path(), anyio.sleep)
    assert await place.prepare(agent, context).run(None) == "a elsewhere"  # type: ignore[arg-type]
    await places.close()
    assert sys.modules["acme_places"].closed == [place]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (
            "elsewere",
            "there is no place elsewere; there are dask, local, process, ray, elsewhere, list, missing",
        ),
        ("missing", r"the place missing does not load: acme 1\.0 \(acme_places:Nowhere\): AttributeError"),
        ("unfinished", "it has no prepare"),
        ("list", r"acme 1\.0 \(builtins:list\): it is not a subclass of agentdeck\.places\.place\.Place"),
    ],
)
def test_a_place_that_cannot_be_used_says_why(acme: None, name: str, what: str) -> None:
    with pytest.raises(StepError, match=what) as caught:
        Places().find(name)
    assert caught.value.fault.kind == "setup"


def test_no_other_package_can_replace_the_built_in_place(acme: None) -> None:
    assert type(Places().find()) is LocalPlace
    assert {one.plugin.name: one.why for one in loaded().broken}["local"] == "the name local belongs to agentdeck"

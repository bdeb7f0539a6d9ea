"""The work of checking a definition grows with its size, not with its square."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from agentdeck.workflow.graph_check import needs_of
from agentdeck.workflow.loader import _inputs
from agentdeck.workflow.yaml_source import Source


class Name(str):
    """A name that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


@pytest.mark.parametrize("count", [200, 800])
def test_a_join_is_compared_with_few_names(count: int) -> None:
    agents: dict[str, Any] = {Name(f"a{i}"): {"command": ["true"]} for i in range(count)}
    reads = " + ".join(f"needs.a{i}" for i in range(count))
    needs = [Name(f"a{i}") for i in range(count)]
    agents[Name("last")] = {"command": ["true"], "needs": needs, "when": reads}
    read = {"agents": agents, "inputs": {}}
    Name.compared = 0
    source = Source("<w>", {"agentdeck": 1, "name": "w", **read})
    assert needs_of(read, source, {})["last"] == tuple(needs)
    assert not source.issues
    assert Name.compared < 40 * count


class Listed(dict[str, Any]):
    """A map that counts how often all its keys are read."""

    read = 0

    def __iter__(self) -> Iterator[str]:
        self.read += 1
        return super().__iter__()

    def keys(self) -> Any:
        self.read += 1
        return super().keys()


def test_inputs_are_found_without_reading_all_agents_for_each() -> None:
    def work(n: int, a1: int) -> int:
        return n + a1

    agents = Listed({f"a{i}": {} for i in range(50)})
    parameters = {name: inspect.signature(work).parameters for name in dict.keys(agents)}
    assert _inputs(agents, parameters) == {"n": {}}
    assert agents.read <= 1

"""`uses` of agents and limits of resources in a file: what is accepted, and each fault with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentdeck.workflow.check import check
from agentdeck.workflow.loader import loads
from agentdeck.workflow.model import plain, restored
from agentdeck.workflow.units import show_amount, thousandths
from tests.workflow.test_loader import agents, faults, warnings


def shared(limits: str, *lines: str) -> str:
    return agents(*lines).replace("agents:", f"limits: {limits}\nagents:", 1)


def test_resources_are_amounts_beside_workers_and_providers() -> None:
    text = shared(
        "{ workers: 8, gpu: 4.0, mem: 0.5, openai: { concurrent: 2 } }",
        "a: { simulate: 1s, uses: { gpu: 1, mem: 0.1 } }",
    )
    definition = loads(text).definition
    assert definition.limits.workers == 8
    assert dict(definition.limits.resources) == {"gpu": 4, "mem": 0.5}
    assert list(definition.limits.providers) == ["openai"]
    assert dict(definition.agents["a"].uses) == {"gpu": 1, "mem": 0.1}
    assert restored(plain(definition)) == definition


def test_a_workflow_without_resources_has_the_identity_that_it_had() -> None:
    data = plain(loads(agents("a: { simulate: 1s }")).definition)
    assert "uses" not in data["agents"]["a"]
    assert "resources" not in data["limits"]


@pytest.mark.parametrize(
    ("limits", "agent", "told"),
    [
        ("{ gpu: 4 }", "uses: { gpus: 1 }", "5:30: gpus has no limit in this workflow; did you mean gpu?"),
        ("{ workers: 2 }", "uses: { gpu: 1 }", "5:30: gpu has no limit in this workflow; add it to limits: {"),
        ("{ gpu: 4 }", "uses: { gpu: 5 }", "5:35: a uses 5 of gpu, and its limit is 4: it could never start"),
        ("{ gpu: 4 }", "uses: { gpu: 0 }", "5:35: 0 is too small; the least is 0.001"),
        ("{ gpu: 4 }", "uses: { gpu: -1 }", "5:35: -1 is out of range: 0 to 1,000,000,000"),
        ("{ gpu: 4 }", "uses: { gpu: 0.0001 }", "5:35: 0.0001 has more than three decimals"),
        ("{ gpu: 4 }", "uses: { gpu: many }", "5:35: 'many' is not an amount; write a number like 1 or 0.5"),
        ("{ gpu: 4 }", "uses: { gpu: true }", "5:35: True is not an amount"),
        ("{ gpu: 4 }", "uses: 3", "5:28: a map is needed here, not a number; write it as name: value"),
        ("{ gpu: 4 }", "uses: [gpu]", "5:28: a map is needed here, not a list"),
        ("{ gpu: 4 }", "uses: {}", "5:28: it is empty"),
        ("{ gpu: 4 }", "uses: { tokens: 1 }", "5:30: tokens is the name of another limit; choose another name"),
        ("{ gpu: 0 }", "about: x", "3:16: 0 is too small; the least is 0.001"),
        ("{ gpu: .inf }", "about: x", "3:16: inf is out of range"),
        ("{ tokens: 4 }", "about: x", "3:11: tokens is the name of another limit; choose another name"),
        ('{ "a.b": 4 }', "about: x", "3:11: 'a.b' is not a valid name for a resource"),
        ("{ gpu: [4] }", "about: x", "3:16: a map with the limits of a provider, or the amount of"),
        ("{ openai: { concurrent: 2 } }", "uses: { openai: 1 }", "5:30: openai is a provider in limits, not"),
    ],
)  # fmt: skip
def test_each_fault_has_its_place(limits: str, agent: str, told: str) -> None:
    found = faults(shared(limits, f"a: {{ simulate: 1s, {agent} }}"))
    assert any(fault.startswith(f"f.yaml:{told}") for fault in found), found


def test_an_agent_that_runs_nothing_itself_cannot_use_a_resource() -> None:
    text = shared("{ gpu: 4 }", 'a: { approve: "Go on?", uses: { gpu: 1 } }')
    assert faults(text) == ["f.yaml:5:27: a runs nothing itself, so it cannot use a resource; remove uses"]


def test_a_resource_that_no_agent_uses_may_be_meant_as_a_provider() -> None:
    found = warnings(shared("{ openai: 4 }", "a: { simulate: 1s }"))
    assert [(one.line, one.what, one.fix) for one in found] == [
        (3, "no agent uses the resource openai", "for a provider write openai: { concurrent: 4 }")
    ]
    assert not warnings(shared("{ gpu: 4 }", "a: { workflow: inner.yaml }"))  # one of its agents may use it


def test_a_sub_workflow_may_not_use_more_than_the_workflow_that_runs_it_has(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner.yaml", tmp_path / "outer.yaml"
    inner.write_text(shared("{ gpu: 8 }", "scan: { simulate: 1s, uses: { gpu: 4 } }"))
    outer.write_text(shared("{ gpu: 2 }", "review: { workflow: inner.yaml }"))
    told = "scan uses 4 of gpu, and the workflow that runs it has 2; raise limits.gpu there, or use less"
    assert [str(issue) for issue in check(outer)] == [f"{inner}:5:33: {told}"]
    outer.write_text(agents("review: { workflow: inner.yaml }"))
    assert not check(outer)


def test_amounts_are_whole_thousandths() -> None:
    assert 10 * thousandths(0.1) == thousandths(1)
    assert [show_amount(thousandths(amount)) for amount in (4, 0.5, 0.001, 1_000_000)] == [
        "4",
        "0.5",
        "0.001",
        "1000000",
    ]

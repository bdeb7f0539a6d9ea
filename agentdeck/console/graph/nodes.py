"""The nodes of the graph: agents, and groups of similar agents. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from agentdeck.terminal_text import clean
from agentdeck.workflow.agent_kind import kind_of
from agentdeck.workflow.model import Agent, Definition, SubWorkflow

Needs = Mapping[str, Sequence[str]]
Kind = Literal["agent", "spare", "nested", "group"]

#: Fewer similar agents are drawn one by one.
ALIKE = 3


class Node(NamedTuple):
    """One thing to draw. `members` are the agents behind it: itself, or those of the group."""

    name: str
    label: str
    kind: Kind
    members: tuple[str, ...]
    about: str = ""


def nodes_of(definition: Definition) -> dict[str, Node]:
    """A node for each agent. A long common prefix is left out of the labels."""
    labels = [clean(name) for name in definition.agents]
    shared = re.sub(r"[^\W_]*$", "", _shared(labels)) if len(labels) > 2 else ""
    cut = len(shared) if len(shared) >= 8 else 0
    return {
        name: Node(name, label[cut:] or label, _kind(agent), (name,), clean(_about(agent)))
        for (name, agent), label in zip(definition.agents.items(), labels, strict=True)
    }


def _shared(labels: Sequence[str]) -> str:
    """Their common prefix."""
    first, last = min(labels), max(labels)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _kind(agent: Agent) -> Kind:
    return "spare" if agent.spare else "nested" if isinstance(agent.does, SubWorkflow) else "agent"


def _about(agent: Agent) -> str:
    """What an agent does, in a word or two."""
    text = kind_of(agent).label(agent)
    return f"each · {text}" if agent.each else text


def edges_of(definition: Definition) -> dict[str, tuple[str, ...]]:
    """The edges that are drawn: needs. A spare agent comes after those that fall back to it."""
    stands_in: dict[str, list[str]] = {}
    for name, agent in definition.agents.items():
        if agent.on_error.fallback:
            stands_in.setdefault(agent.on_error.fallback, []).append(name)
    edges = {}
    for name, agent in definition.agents.items():
        above = stands_in.get(name, agent.needs) if agent.spare else agent.needs
        edges[name] = tuple(need for need in above if need in definition.agents)
    return edges


def fold(
    nodes: Mapping[str, Node], needs: Needs, rank: Mapping[str, int]
) -> tuple[dict[str, Node], dict[str, list[str]]]:
    """Group similar neighbours: agents of one layer whose names differ only in their number, or that have
    the same needs and the same dependents. Edges lead from layer to layer, so this makes no cycle."""
    nodes, needs = _merge(nodes, needs, lambda node: (rank[node.name], node.kind, _stem(node.label)))
    below: dict[str, list[str]] = {name: [] for name in nodes}
    for name, above in needs.items():
        for need in above:
            below[need].append(name)
    single = {name for name, node in nodes.items() if node.kind == "agent"}
    return _merge(
        nodes,
        needs,
        lambda node: (
            (frozenset(needs[node.name]), frozenset(below[node.name])) if node.name in single else node.name
        ),
    )


def _stem(label: str) -> str:
    """A name without the number at its end: `fetch_12`, `fetch-b3` and `fetch_ID0007` are all `fetch`."""
    return re.sub(r"([\W_]+[A-Za-z]{0,2})?\d[\W\d_]*$", "", label) or label


def _merge(
    nodes: Mapping[str, Node], needs: Needs, alike: object
) -> tuple[dict[str, Node], dict[str, list[str]]]:
    assert callable(alike)
    groups: dict[object, list[Node]] = {}
    for node in nodes.values():
        groups.setdefault(alike(node), []).append(node)
    merged: dict[str, Node] = {}
    head: dict[str, str] = {}
    for group in groups.values():
        if len(group) < ALIKE:
            for node in group:
                merged[node.name] = node
                head[node.name] = node.name
            continue
        first = group[0]
        stem = _stem(first.label)
        same = all(_stem(node.label) == stem for node in group)
        label = stem if same else f"{first.label} …"
        members = tuple(member for node in group for member in node.members)
        merged[first.name] = Node(first.name, label, "group", members, first.about)
        for node in group:
            head[node.name] = first.name
    order = {name: index for index, name in enumerate(nodes)}
    merged = {name: merged[name] for name in sorted(merged, key=order.__getitem__)}
    above: dict[str, list[str]] = {name: [] for name in merged}
    for name, list_ in needs.items():
        mine = above[head[name]]
        mine += [head[need] for need in list_]
    return merged, {name: list(dict.fromkeys(list_)) for name, list_ in above.items()}

"""Checks the code behind the agents of a workflow and of its sub-workflows, which a file only names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agentdeck.errors import InvalidFile, Issue, StepError
from agentdeck.workflow.agent_kind import AgentWithCode, kind_of
from agentdeck.workflow.deck import LOCAL, Deck, deck_for
from agentdeck.workflow.functions import resolve
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Definition, SubWorkflow
from agentdeck.workflow.place_types import place_faults, unknown_place
from agentdeck.workflow.wording import kind
from agentdeck.workflow.yaml_source import Path_, Place


def check_code(
    definition: Definition,
    folder: Path,
    functions: Mapping[str, Callable[..., Any]],
    positions: Mapping[Path_, Place] = MappingProxyType({}),
    file: str = "<workflow>",
    seen: set[Path] | None = None,
    resources: Mapping[str, float] | None = None,
    deck: Callable[[], Deck] | None = None,
) -> list[Issue]:
    """A fault for every agent whose module does not import, whose function is missing, or takes what the workflow
    does not give; a warning for what is given and not taken. Sub-workflows that were `seen` are left out.
    `resources` are those of the outermost workflow: no agent may use more of one. `deck` gives the one that its
    folder has. The code of an agent with a place is not there to be imported."""
    issues: list[Issue] = []
    seen = set() if seen is None else seen
    resources = definition.limits.resources if resources is None else resources
    deck = deck or cache(partial(deck_for, folder))
    for name, agent in definition.agents.items():
        if isinstance(agent.does, SubWorkflow):
            below = str(Path(file).parent / agent.does.file)
            issues += _below(folder / agent.does.file, below, seen, resources, deck)
        with_code = AgentWithCode(agent, definition, folder, functions.get(name), positions, file)
        if agent.place == LOCAL:
            issues += kind_of(agent).check_code(with_code)
        else:
            issues += _place(with_code, deck)
        issues += _retry_rule(with_code, functions)
        issues += _beyond(with_code, resources)
    return issues


def _place(agent: AgentWithCode, deck: Callable[[], Deck]) -> Iterator[Issue]:
    """A fault for a place that the deck does not have, or that cannot be used."""
    name = agent.agent.place
    try:
        found = deck()
    except InvalidFile:  # reported by itself
        return
    if unknown := unknown_place(name, found):
        yield agent.issue(*unknown, "place")
        return
    for _, what, fix in place_faults(found.places[name]):
        yield agent.issue(what, fix, "place")


def _beyond(agent: AgentWithCode, resources: Mapping[str, float]) -> Iterator[Issue]:
    """A fault for each resource of which the agent uses more than the outermost workflow has."""
    for name, amount in agent.agent.uses.items():
        if amount > resources.get(name, amount):
            what = (
                f"{agent.agent.name} uses {amount} of {name}, and the workflow that runs it has {resources[name]}"
            )
            yield agent.issue(what, f"raise limits.{name} there, or use less", "uses", name)


def _retry_rule(agent: AgentWithCode, functions: Mapping[str, Callable[..., Any]]) -> Iterator[Issue]:
    """A fault for a retry rule that does not import, or cannot be called."""
    target = agent.agent.retry.on
    if target is None or target in functions:
        return
    try:
        with redirect_stdout(sys.stderr):  # stdout is for data: what a module prints on import is none
            rule = resolve(target, agent.folder)
    except StepError as error:
        what, _, fix = str(error).partition("; ")
        yield agent.issue(what, fix, "retry", "on")
    else:
        if not callable(rule):
            yield agent.issue(f"{target} is {kind(rule)}, not a function", "", "retry", "on")


def _below(
    path: Path, shown: str, seen: set[Path], resources: Mapping[str, float], deck: Callable[[], Deck]
) -> list[Issue]:
    """The same for a sub-workflow, once for all agents that use it."""
    resolved = path.resolve()
    if resolved in seen:
        return []
    seen.add(resolved)
    try:
        inner = load(path, shown)
    except InvalidFile as error:
        return list(error.issues)
    folder = inner.definition.folder or resolved.parent
    return check_code(inner.definition, folder, inner.functions, inner.positions, shown, seen, resources, deck)

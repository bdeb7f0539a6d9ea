"""Checks the code behind the agents of a workflow and of its sub-workflows, which a file only names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agentdeck.errors import InvalidFile, Issue
from agentdeck.workflow.agent_kind import AgentWithCode, kind_of
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Definition, SubWorkflow
from agentdeck.workflow.yaml_source import Path_, Place


def check_code(
    definition: Definition,
    folder: Path,
    functions: Mapping[str, Callable[..., Any]],
    positions: Mapping[Path_, Place] = MappingProxyType({}),
    file: str = "<workflow>",
    seen: set[Path] | None = None,
) -> list[Issue]:
    """A fault for every agent whose module does not import, whose function is missing, or takes what the workflow
    does not give; a warning for what is given and not taken. Sub-workflows that were `seen` are left out."""
    issues: list[Issue] = []
    seen = set() if seen is None else seen
    for name, agent in definition.agents.items():
        if isinstance(agent.does, SubWorkflow):
            issues += _below(folder / agent.does.file, str(Path(file).parent / agent.does.file), seen)
        with_code = AgentWithCode(agent, definition, folder, functions.get(name), positions, file)
        issues += kind_of(agent).check_code(with_code)
    return issues


def _below(path: Path, shown: str, seen: set[Path]) -> list[Issue]:
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
    return check_code(inner.definition, folder, inner.functions, inner.positions, shown, seen)

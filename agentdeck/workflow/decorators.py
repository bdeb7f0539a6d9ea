"""Builds workflows from decorated functions: keys as in a file, needs from the names of parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agentdeck.workflow.loader import from_data
from agentdeck.workflow.model import Data, Definition


def define(
    name: str,
    settings: Mapping[str, Data],
    agents: Mapping[str, Mapping[str, Data]],
    functions: Mapping[str, Callable[..., Any]],
    folder: Path,
) -> Definition:
    """The definition. Parameters that name agents are needs; those that name nothing known are inputs, with
    their defaults, unless the workflow declares its inputs itself. Raises InvalidFile."""
    parameters = {agent: tuple(_parameters(function)) for agent, function in functions.items()}
    data: dict[str, Data] = {"agentdeck": 1, "name": name, **settings}
    data["agents"] = {agent: dict(keys) for agent, keys in agents.items()}
    if "inputs" not in data:
        data["inputs"] = _inputs(agents, functions)
    return from_data(data, f"<{name}>", folder, parameters)


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function. An object that is called by a method of its framework gets one map with all
    that it may read; the parameters of a built-in may not be known: both name no need and no input."""
    try:
        return inspect.signature(function).parameters if callable(function) else {}
    except (TypeError, ValueError):
        return {}


def _inputs(
    agents: Mapping[str, Mapping[str, Data]], functions: Mapping[str, Callable[..., Any]]
) -> dict[str, Data]:
    found: dict[str, Data] = {}
    for agent, function in functions.items():
        given = agents[agent].get("with", {})
        for key, parameter in _parameters(function).items():
            known = key in agents or key in given or key in ("ctx", "item", "previous", "inputs", "needs")
            if known or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            plain = parameter.default is not parameter.empty
            found.setdefault(key, {"default": parameter.default} if plain else {})
    return found

"""`--set agents.extract.timeout=5s`: settings of a workflow that are changed for one run."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from agentdeck.errors import UsageError
from agentdeck.limits.provider_limits import NAMES as CAPS
from agentdeck.limits.provider_limits import with_changes
from agentdeck.operations.inputs import pair
from agentdeck.workflow.model import PRIORITIES, Agent, Budget, Definition, ProviderLimits
from agentdeck.workflow.units import duration, size

CLOCKS = ("queue", "attempt", "idle", "total")
RETRY_SETTINGS = ("attempts", "delay", "factor", "max_delay")
AGENT_SETTINGS = (
    "timeout",
    *(f"timeout.{clock}" for clock in CLOCKS),
    "retry",
    *(f"retry.{name}" for name in RETRY_SETTINGS),
    "max_parallel",
    "priority",
    "tier",
)


def override(definition: Definition, settings: Iterable[str]) -> Definition:
    """The workflow with these `--set NAME=VALUE` settings. Raises UsageError for an unknown name or value."""
    for text in settings:
        name, value = pair(text, "--set")
        try:
            definition = _with_setting(definition, name, value.strip())
        except ValueError as error:
            raise UsageError(f"--set {name}: {error}") from None
    return definition


def _with_setting(definition: Definition, name: str, value: str) -> Definition:
    parts = name.split(".")
    if parts == ["limits", "workers"]:
        return replace(definition, limits=replace(definition.limits, workers=_whole(value)))
    if parts in (["budget", "usd"], ["budget", "tokens"]):
        amount = {parts[1]: _amount(parts[1], value)}
        return replace(definition, budget=replace(definition.budget or Budget(), **amount))
    if len(parts) == 2 and parts[1] in CAPS:
        own = definition.limits.providers
        tighter = with_changes(own.get(parts[0], ProviderLimits()), {parts[1]: value or "none"})
        limits = replace(definition.limits, providers={**own, parts[0]: tighter})
        return replace(definition, limits=limits)
    if parts[0] == "agents" and len(parts) >= 3:
        agent = definition.agents.get(parts[1])
        if agent is None:
            raise UsageError(f"--set {name}: there is no agent {parts[1]}; {_near(parts[1], definition.agents)}")
        setting = ".".join(parts[2:])
        if setting not in AGENT_SETTINGS:
            raise UsageError(f"--set {name}: {setting} cannot be set here; {_near(setting, AGENT_SETTINGS)}")
        agents = {**definition.agents, agent.name: _with_agent_setting(agent, setting, value)}
        return replace(definition, agents=agents)
    names = [
        "limits.workers",
        "budget.usd",
        "budget.tokens",
        *(f"agents.{agent}.{one}" for agent in definition.agents for one in AGENT_SETTINGS),
    ]
    near = difflib.get_close_matches(name, names, n=1)
    known = (
        f"did you mean {near[0]}?"
        if near
        else "write limits.workers=8, agents.NAME.timeout=5s, PROVIDER.requests=50/min or budget.usd=2"
    )
    raise UsageError(f"--set {name}: there is no such setting; {known}")


def _with_agent_setting(agent: Agent, setting: str, value: str) -> Agent:
    first, _, part = setting.partition(".")
    changes: dict[str, Any]
    if first == "timeout":
        seconds = None if value in ("none", "null") else duration(value)
        if seconds == 0:
            raise ValueError("a timeout is longer than nothing; none takes it away")
        part = part or "attempt"
        changes = {part: seconds, "auto": False} if part == "attempt" else {part: seconds}
        return replace(agent, timeout=replace(agent.timeout, **changes))
    if first == "retry":
        part = part or "attempts"
        parse: Callable[[str], Any] = {"attempts": _whole, "factor": _factor}.get(part, duration)
        changes = {part: parse(value)}
        return replace(agent, retry=replace(agent.retry, **changes))
    if first == "max_parallel":
        changes = {"max_parallel": None if value in ("none", "null") else _whole(value)}
    elif first == "priority":
        if value not in PRIORITIES:
            raise ValueError(f"{value} is not one of {', '.join(PRIORITIES)}")
        changes = {"priority": value}
    else:
        changes = {"tier": value or None}
    return replace(agent, **changes)


def _amount(measure: str, value: str) -> Any:
    """Dollars, or tokens such as 400k; None removes the bound."""
    if value in ("", "none"):
        return None
    if measure == "tokens":
        return size(value)
    try:
        dollars = float(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number of dollars") from None
    if not 0 <= dollars < 1e9:
        raise ValueError(f"{value} is out of range: from 0 on")
    return dollars


def _whole(value: str) -> int:
    try:
        number = int(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a whole number") from None
    if not 1 <= number <= 10_000:
        raise ValueError(f"{number} is out of range: 1 to 10000")
    return number


def _factor(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number") from None
    if not 1 <= number <= 100:
        raise ValueError(f"{value} is out of range: 1 to 100")
    return number


def _near(name: str, names: Iterable[str]) -> str:
    all_ = list(names)
    near = difflib.get_close_matches(name, all_, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(all_)}"

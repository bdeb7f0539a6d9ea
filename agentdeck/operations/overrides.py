"""`--set agents.extract.timeout=5s`: settings of a workflow that are changed for one run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from agentdeck.errors import UsageError
from agentdeck.limits.provider_limits import NAMES as CAPS
from agentdeck.limits.provider_limits import with_changes
from agentdeck.operations.inputs import pair
from agentdeck.workflow.model import PRIORITIES, Agent, Budget, Definition, ProviderLimits
from agentdeck.workflow.units import duration, size, thousandths, whole_where_exact
from agentdeck.workflow.wording import did_you_mean

Number = TypeVar("Number", int, float)

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
    if len(parts) == 2 and parts[0] == "limits" and parts[1] in definition.limits.resources:
        amount = thousandths(_parsed(float, value, "a number"))
        if not amount:
            raise ValueError(f"{value} is too small; the least is 0.001")
        resources = {**definition.limits.resources, parts[1]: whole_where_exact(amount / 1000)}
        for one in definition.agents.values():
            if one.uses.get(parts[1], 0) > resources[parts[1]]:
                raise ValueError(f"{one.name} uses {one.uses[parts[1]]} of it")
        return replace(definition, limits=replace(definition.limits, resources=resources))
    if parts in (["budget", "usd"], ["budget", "tokens"]):
        bound = {parts[1]: _amount(parts[1], value)}
        return replace(definition, budget=replace(definition.budget or Budget(), **bound))
    if len(parts) == 2 and parts[1] in CAPS:
        own = definition.limits.providers
        tighter = with_changes(own.get(parts[0], ProviderLimits()), {parts[1]: value or "none"})
        limits = replace(definition.limits, providers={**own, parts[0]: tighter})
        return replace(definition, limits=limits)
    if parts[0] == "agents" and len(parts) >= 3:
        agent = definition.agents.get(parts[1])
        if agent is None:
            raise UsageError(f"--set {name}: there is no agent {parts[1]}; {_known(parts[1], definition.agents)}")
        setting = ".".join(parts[2:])
        if setting not in AGENT_SETTINGS:
            raise UsageError(f"--set {name}: {setting} cannot be set here; {_known(setting, AGENT_SETTINGS)}")
        agents = {**definition.agents, agent.name: _with_agent_setting(agent, setting, value)}
        return replace(definition, agents=agents)
    names = [
        "limits.workers",
        *(f"limits.{resource}" for resource in definition.limits.resources),
        "budget.usd",
        "budget.tokens",
        *(f"agents.{agent}.{one}" for agent in definition.agents for one in AGENT_SETTINGS),
    ]
    examples = "write limits.workers=8, agents.NAME.timeout=5s, PROVIDER.requests=50/min or budget.usd=2"
    raise UsageError(f"--set {name}: there is no such setting; {did_you_mean(name, names, examples)}")


def _known(name: str, names: Collection[str]) -> str:
    return did_you_mean(name, names, f"there are {', '.join(names)}")


def _with_agent_setting(agent: Agent, setting: str, value: str) -> Agent:
    first, _, part = setting.partition(".")
    changes: dict[str, Any]
    if first == "timeout":
        seconds = None if value in ("none", "null") else duration(value)
        if seconds == 0:
            raise ValueError("a timeout must be longer than 0; none removes it")
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
    dollars = _parsed(float, value, "a number of dollars")
    if not 0 <= dollars < 1e9:
        raise ValueError(f"{value} is out of range: 0 or more")
    return dollars


def _whole(value: str) -> int:
    number = _parsed(int, value, "a whole number")
    if not 1 <= number <= 10_000:
        raise ValueError(f"{number} is out of range: 1 to 10000")
    return number


def _factor(value: str) -> float:
    number = _parsed(float, value, "a number")
    if not 1 <= number <= 100:
        raise ValueError(f"{value} is out of range: 1 to 100")
    return number


def _parsed(parse: Callable[[str], Number], value: str, what: str) -> Number:
    try:
        return parse(value)
    except ValueError:
        raise ValueError(f"{value!r} is not {what}") from None

"""How often, how long and how many at once: the arguments of a task that are the policies of its agent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agentdeck.exporting.python_text import Code, duration, number
from agentdeck.workflow.model import Agent, Data, Definition, Retry

#: Effective priorities are sums over what follows a task, which has 1 for each task otherwise.
PRIORITIES = {"high": 100, "low": -100}


def policy(definition: Definition, agent: Agent) -> dict[str, Data]:
    """The retries and the timeout of the task that executes an agent. What says nothing is left out."""
    found: dict[str, Data] = {}
    if agent.does.holds_worker:
        found |= _retries(agent.retry)
        seconds = _longest(definition, agent)
        found["execution_timeout"] = None if seconds is None else Code(f"{duration(seconds)} + START")
    return found


def _retries(retry: Retry) -> dict[str, Data]:
    if retry.attempts == 1:
        return {"retries": 0}
    return {
        "retries": retry.attempts - 1,
        "retry_delay": duration(retry.delay),
        "retry_exponential_backoff": Code(number(retry.factor)),
        "max_retry_delay": duration(retry.max_delay),
    }


def _longest(definition: Definition, agent: Agent) -> float | None:
    """The seconds that a try of an agent takes at most, all rounds and its fallback included; None without a
    limit."""
    if agent.timeout.attempt is None:
        return None
    rounds = agent.repeat.max if agent.repeat else len(agent.needs) if agent.join.kind == "progressive" else 1
    seconds = agent.timeout.attempt * max(1, rounds)
    if agent.on_error.fallback is None:
        return seconds
    spare = definition.agents[agent.on_error.fallback]
    if spare.timeout.attempt is None:
        return None
    waits = sum(
        min(spare.retry.max_delay, spare.retry.delay * spare.retry.factor**n)
        for n in range(spare.retry.attempts - 1)
    )
    return seconds + spare.timeout.attempt * spare.retry.attempts + waits


def common(policies: Iterable[Mapping[str, Data]]) -> dict[str, Data]:
    """The value of each argument that most tasks have, the first of equals. It is their default."""
    counts: dict[str, dict[str, int]] = {}
    values: dict[str, Data] = {}
    for one in policies:
        for key, value in one.items():
            values[f"{key}={value}"] = value
            seen = counts.setdefault(key, {})
            seen[f"{key}={value}"] = seen.get(f"{key}={value}", 0) + 1
    return {key: values[max(seen, key=lambda shown: seen[shown])] for key, seen in counts.items()}

"""What an agent was asked to do in a step, rendered again from recorded values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentdeck.errors import AgentdeckError
from agentdeck.workflow.agent_kind import kind_of
from agentdeck.workflow.expressions import Template
from agentdeck.workflow.model import Agent, Data


def asked(agent: Agent, scope: dict[str, Data]) -> dict[str, Data]:
    """The work of an agent in named parts, with the values of a scope filled in. A part that cannot be rendered
    says why."""
    # Secrets are shown by their names.
    scope = {**scope, "secret": _SecretNames()}

    def fill(value: Data, template: Callable[[Any], Any] = Template) -> Data:
        try:
            return template(value).render(scope)
        except AgentdeckError as error:
            return f"(unknown: {error})"

    parts = kind_of(agent).asked(agent, fill)
    if agent.with_:
        parts["with"] = fill(dict(agent.with_))
    return {name: value for name, value in parts.items() if value not in (None, {}, [], "")}


class _SecretNames(dict[str, Data]):
    def get(self, key: str, default: Data = None) -> Data:
        return f"${{secret.{key}}}"

"""Makes the verb of an agent. The module of a verb is imported when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from agentdeck.agents.secret_masking import SecretMaskingVerb
from agentdeck.agents.verb import Verb, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.workflow.model import Agent


def build(agent: Agent, setting: WorkflowContext) -> Verb:
    """The verb. Raises StepError of kind `setup` where it cannot be made (no such module, no such function)."""
    make = _maker(agent.does.verb)
    if make is None:
        raise StepError("setup", f"{agent.does.verb} holds no worker and is carried out by the engine itself")
    verb = make(agent, setting)
    return SecretMaskingVerb(verb, setting.keys) if setting.keys.has_secrets else verb


@cache
def _maker(verb: str) -> Callable[[Agent, WorkflowContext], Verb] | None:
    if verb == "python":
        from agentdeck.agents.python import PythonVerb

        return PythonVerb
    if verb == "simulate":
        from agentdeck.agents.simulate import SimulateVerb

        return SimulateVerb
    if verb == "command":
        from agentdeck.agents.command import CommandVerb

        return CommandVerb
    if verb == "http":
        from agentdeck.agents.http import HttpVerb

        return HttpVerb
    if verb == "prompt":
        from agentdeck.agents.prompt import PromptVerb

        return PromptVerb
    return None

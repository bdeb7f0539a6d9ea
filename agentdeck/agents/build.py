"""From an agent's definition to the object that does its work. Each verb is imported when first used."""

from __future__ import annotations

from agentdeck.agents.verb import Setting, Verb
from agentdeck.errors import StepError
from agentdeck.workflow.model import Agent, Command, Http, Prompt, Python, Simulate


def build(agent: Agent, setting: Setting) -> Verb:
    """Raises StepError of kind `setup` where it cannot be made (no such module, no such function)."""
    match agent.does:
        case Python():
            from agentdeck.agents.python import PythonVerb

            return PythonVerb(agent, setting)
        case Simulate():
            from agentdeck.agents.simulate import SimulateVerb

            return SimulateVerb(agent, setting)
        case Command():
            from agentdeck.agents.command import CommandVerb

            return CommandVerb(agent, setting)
        case Http():
            from agentdeck.agents.http import HttpVerb

            return HttpVerb(agent, setting)
        case Prompt():
            from agentdeck.agents.prompt import PromptVerb

            return PromptVerb(agent, setting)
    raise StepError("setup", f"{agent.does.verb} holds no worker and is carried out by the engine itself")

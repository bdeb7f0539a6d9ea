"""`call`: a call of a model that the attempt of another agent makes through the gateway. No file has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentdeck.workflow.agent_kind import AgentKind, Fill
from agentdeck.workflow.model import Agent, Data, ModelCall

if TYPE_CHECKING:
    from agentdeck.agents.verb import Verb, WorkflowContext


class CallKind(AgentKind):
    """The agents of the gateway's calls, one for each model and tier of the deck."""

    work = ModelCall
    in_files = False
    seeded = True

    def target(self, agent: Agent) -> str:
        assert isinstance(agent.does, ModelCall)
        return agent.does.model or f"tier {agent.tier}"

    def label(self, agent: Agent) -> str:
        assert isinstance(agent.does, ModelCall)
        return f"call {agent.does.model or agent.tier}"

    def asked(self, agent: Agent, fill: Fill) -> dict[str, Data]:
        return {"call": fill("${inputs}")}

    def runner(self, agent: Agent, context: WorkflowContext) -> Verb:
        from agentdeck.agents.call_runner import CallVerb

        return CallVerb(agent, context)

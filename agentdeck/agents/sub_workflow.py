"""`workflow`: an agent that runs another workflow file as nested steps. The engine itself carries it out."""

from __future__ import annotations

from agentdeck.workflow.agent_kind import AgentKind
from agentdeck.workflow.file_model import ABSENT, FileModel, Text
from agentdeck.workflow.model import Agent, SubWorkflow


class SubWorkflowKeys(FileModel):
    """The keys of agents that run a workflow."""

    workflow: Text = ABSENT


class SubWorkflowKind(AgentKind):
    """Agents that run a workflow."""

    work = SubWorkflow
    keys = SubWorkflowKeys
    heading = "files"
    templates = ()

    def label(self, agent: Agent) -> str:
        return self.target(agent).rpartition("/")[2]

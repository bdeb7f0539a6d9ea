"""`workflow`: an agent that runs another workflow file as nested steps. The engine itself carries it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentdeck.workflow.agent_kind import AgentKind
from agentdeck.workflow.model import Agent, SubWorkflow

if TYPE_CHECKING:
    from agentdeck.workflow.file_model import FileModel


class SubWorkflowKind(AgentKind):
    """Agents that run a workflow."""

    work = SubWorkflow
    heading = "files"
    templates = ()

    def keys(self) -> type[FileModel]:
        from agentdeck.workflow.file_model import ABSENT, FileModel, Text

        class SubWorkflowKeys(FileModel):
            """The keys of agents that run a workflow."""

            workflow: Text = ABSENT

        return SubWorkflowKeys

    def label(self, agent: Agent) -> str:
        return self.target(agent).rpartition("/")[2]

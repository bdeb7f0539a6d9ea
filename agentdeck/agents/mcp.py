"""`mcp`: an agent that calls one tool of an MCP server of the deck. No model takes part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentdeck.workflow.agent_kind import AgentKind, Fill
from agentdeck.workflow.model import Agent, Data, Work
from agentdeck.workflow.references import Found, expressions_in
from agentdeck.workflow.yaml_source import Path_, as_map

if TYPE_CHECKING:
    from agentdeck.agents.verb import Verb, WorkflowContext
    from agentdeck.workflow.file_model import FileModel


@dataclass(frozen=True, slots=True)
class Mcp(Work):
    """Call a tool. `arguments` are templates."""

    server: str
    tool: str
    arguments: Mapping[str, Data] = field(default_factory=dict)
    verb = "mcp"

    def templates(self) -> Data:
        return dict(self.arguments)

    def mcp_tools(self) -> tuple[str, ...]:
        return (f"{self.server}/{self.tool}",)


class McpKind(AgentKind):
    """Agents that call a tool."""

    work = Mcp
    heading = "tools"
    secrets = ("arguments",)

    def keys(self) -> type[FileModel]:
        from agentdeck.workflow.file_model import ABSENT, FileModel, Text, Values

        class McpSpec(FileModel):
            """A call of a tool of an MCP server of the deck."""

            server: Text
            tool: Text
            arguments: Values = ABSENT

        class McpKeys(FileModel):
            """The keys of agents that call tools."""

            mcp: McpSpec = ABSENT

        return McpKeys

    def expressions(self, given: Mapping[str, Any], path: Path_) -> Iterator[Found]:
        yield from expressions_in(as_map(given["mcp"]).get("arguments"), (*path, "mcp", "arguments"))

    def target(self, agent: Agent) -> str:
        return agent.does.mcp_tools()[0]

    def label(self, agent: Agent) -> str:
        return f"mcp {agent.does.mcp_tools()[0]}"

    def asked(self, agent: Agent, fill: Fill) -> dict[str, Data]:
        assert isinstance(agent.does, Mcp)
        return {"tool": self.target(agent), "arguments": fill(dict(agent.does.arguments))}

    def runner(self, agent: Agent, context: WorkflowContext) -> Verb:
        from agentdeck.agents.mcp_runner import McpVerb

        return McpVerb(agent, context)

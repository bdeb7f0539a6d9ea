"""`mcp`: calls a tool of an MCP server, which is started on first use and serves the whole run."""

from __future__ import annotations

from functools import partial

from agentdeck.agents.mcp import Mcp
from agentdeck.agents.template_rendering import render
from agentdeck.agents.verb import AttemptContext, WorkflowContext
from agentdeck.errors import StepError
from agentdeck.providers.tools import CallResult, result_of
from agentdeck.workflow.expressions import Template
from agentdeck.workflow.model import Agent, Data

#: The most characters of a tool's own error in the message of a failure; its detail has more.
SHORT, LONG = 300, 8_000


class McpVerb:
    """Calls the agent's tool once per attempt."""

    def __init__(self, agent: Agent, context: WorkflowContext) -> None:
        assert isinstance(agent.does, Mcp)
        self._name = agent.does.mcp_tools()[0]
        self._arguments = Template(dict(agent.does.arguments))
        self._keys = context.keys
        self._tools = context.registry.tools

    async def run(self, work: AttemptContext) -> Data:
        arguments = await render(self._arguments, await self._keys.with_secrets(work.scope, self._arguments))
        assert isinstance(arguments, dict)
        try:
            await self._tools.tools([self._name])  # starts the server, and names the tools that it has
            stderr = partial(work.log, level="err")
            result = await self._tools.call_alone(self._name, arguments, work.log, stderr)
        except StepError as error:
            if error.fault.detail:  # what the server wrote before it ended
                work.log(error.fault.detail, "err")
            raise
        if result.get("isError"):
            text = self._keys.hide(result_of(result).text)
            short = " ".join(text.split())[:SHORT]
            raise StepError(
                "exception", f"{self._name} failed: {short or 'it does not say why'}", detail=text[:LONG]
            )
        return data_of(result)


def data_of(result: CallResult) -> Data:
    """What an agent returns for a tool's answer: its structured data if it has some, else its text, else its
    parts as they are in the protocol."""
    if result.get("structuredContent") is not None:
        return result["structuredContent"]
    parts = [dict(part) for part in result.get("content") or ()]
    if all(part.get("type") == "text" for part in parts):
        return "\n".join(str(part.get("text") or "") for part in parts)
    return [{key: value for key, value in part.items() if value is not None} for part in parts]

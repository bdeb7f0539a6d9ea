"""`prompt`: an agent that asks a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from agentdeck.workflow.agent_kind import AgentKind, Fill
from agentdeck.workflow.expressions import show
from agentdeck.workflow.model import Agent, Data, Prompt, Timeout

if TYPE_CHECKING:
    from agentdeck.agents.verb import Verb, WorkflowContext
    from agentdeck.workflow.file_model import FileModel


class PromptKind(AgentKind):
    """Agents that ask a model. Their calls are reserved and counted by the scheduler and the engine."""

    work = Prompt
    #: An answer that is still streaming may take minutes; one that stalls is cut off after 30 s.
    timeout = Timeout(attempt=300.0, idle=30.0)
    heading = "models"
    templates = ("prompt", "system", "images")
    seeded = True

    def keys(self) -> type[FileModel]:
        from agentdeck.workflow import file_model
        from agentdeck.workflow.file_model import ABSENT, FileModel, Text, Texts

        class PromptKeys(FileModel):
            """The keys of agents that ask a model."""

            prompt: file_model.FilledTemplate = ABSENT
            system: file_model.Template = ABSENT
            model: Text = ABSENT
            temperature: Annotated[float, file_model.NumberRange(0, 2)] = ABSENT
            max_output: file_model.Size = ABSENT
            stop: Texts = ABSENT
            images: Annotated[list[file_model.FilledTemplate], file_model.ONE_OR_MANY] = ABSENT
            tools: Texts = ABSENT

        return PromptKeys

    def target(self, agent: Agent) -> str:
        assert isinstance(agent.does, Prompt)
        return agent.does.model or f"tier {agent.tier or 'execution'}"

    def label(self, agent: Agent) -> str:
        assert isinstance(agent.does, Prompt)
        return f"prompt {agent.does.model or agent.tier or 'execution'}"

    def described(self, agent: Agent) -> str:
        assert isinstance(agent.does, Prompt)
        return f"prompt: {agent.does.model or agent.does.text}"

    def asked(self, agent: Agent, fill: Fill) -> dict[str, Data]:
        does = agent.does
        assert isinstance(does, Prompt)
        return {
            "system": fill(does.system),
            "prompt": show(fill(does.text)),
            "model": does.model or agent.tier,
            "images": fill(list(does.images)),
        }

    def files(self, agent: Agent, folder: Path, function: Any) -> Iterator[tuple[Path, str]]:
        """The images whose names have no expression."""
        assert isinstance(agent.does, Prompt)
        for image in agent.does.images:
            if "${" not in image:
                yield (folder / image).resolve(), "image"

    def runner(self, agent: Agent, context: WorkflowContext) -> Verb:
        from agentdeck.agents.prompt_runner import PromptVerb

        return PromptVerb(agent, context)

"""`command`: an agent that runs a program, never through a shell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

from agentdeck.workflow.agent_kind import AgentKind, Fill
from agentdeck.workflow.expressions import show
from agentdeck.workflow.model import Agent, Data, Work

if TYPE_CHECKING:
    from agentdeck.agents.verb import Verb, WorkflowContext
    from agentdeck.workflow.file_model import FileModel


@dataclass(frozen=True, slots=True)
class Command(Work):
    """Run a program. Each argument is a template rendered on its own. `ok` are the exit codes of success."""

    args: tuple[str, ...]
    env: Mapping[str, Data] = field(default_factory=dict)
    cwd: str | None = None
    input: str | None = None
    ok: tuple[int, ...] = (0,)
    verb = "command"
    later_fields: ClassVar[Mapping[str, Data]] = {"ok": (0,)}


class CommandKind(AgentKind):
    """Agents that run a program."""

    work = Command
    takes_gateway = True
    heading = "commands"
    secrets = ("env",)

    def keys(self) -> type[FileModel]:
        from pydantic import Field

        from agentdeck.workflow import file_model
        from agentdeck.workflow.file_model import ABSENT, ByType, FileModel, Values

        Arguments = Annotated[list[file_model.Template], Field(min_length=1)]
        ExitCode = Annotated[int, Field(strict=True, ge=0, le=255), file_model.WHOLE]

        class CommandSpec(FileModel):
            """A program with its arguments, without a shell."""

            args: Arguments
            env: Values = ABSENT
            cwd: file_model.FilledTemplate = ABSENT
            input: file_model.Template = ABSENT
            ok: Annotated[list[ExitCode], Field(min_length=1), file_model.ONE_OR_MANY] = ABSENT

        class CommandKeys(FileModel):
            """The keys of agents that run programs."""

            command: Annotated[
                Arguments | CommandSpec, ByType('a list of arguments, like ["git", "log"],', "list", "map")
            ] = ABSENT

        return CommandKeys

    def target(self, agent: Agent) -> str:
        assert isinstance(agent.does, Command)
        args = agent.does.args
        return " ".join(arg if arg and not any(map(str.isspace, arg)) else repr(arg) for arg in args)

    def label(self, agent: Agent) -> str:
        assert isinstance(agent.does, Command)
        return " ".join(agent.does.args[:2])

    def described(self, agent: Agent) -> str:
        assert isinstance(agent.does, Command)
        return f"command: {' '.join(agent.does.args)}"

    def asked(self, agent: Agent, fill: Fill) -> dict[str, Data]:
        does = agent.does
        assert isinstance(does, Command)
        return {
            "command": shlex.join(show(fill(word)) for word in does.args),
            "env": fill(dict(does.env)),
            "cwd": fill(does.cwd),
            "stdin": fill(does.input),
        }

    def runner(self, agent: Agent, context: WorkflowContext) -> Verb:
        from agentdeck.agents.command_runner import CommandVerb

        return CommandVerb(agent, context)

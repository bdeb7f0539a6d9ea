"""`cli`: an agent that hands a task to a coding agent for the command line, and follows what it does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated

from agentdeck.workflow.agent_kind import AgentInFile, AgentKind, Fill
from agentdeck.workflow.expressions import show
from agentdeck.workflow.model import Agent, Data, Timeout, Work

if TYPE_CHECKING:
    from agentdeck.agents.verb import Verb, WorkflowContext
    from agentdeck.workflow.file_model import FileModel

#: The programs whose output is understood.
KNOWN = ("claude", "codex", "gemini")
#: What `allow` may say for codex, whose sandbox is all or nothing.
SANDBOXES = ("read-only", "workspace-write", "danger-full-access")


@dataclass(frozen=True, slots=True)
class Cli(Work):
    """Run a coding agent. `program` is its command; `prompt`, `cwd` and the values of `env` are templates.
    `allow` are the tools that it may use without asking, in its own notation."""

    program: tuple[str, ...]
    prompt: str
    allow: tuple[str, ...] = ()
    cwd: str | None = None
    model: str | None = None
    env: Mapping[str, Data] = field(default_factory=dict)
    verb = "cli"

    @property
    def family(self) -> str:
        """The coding agent: one of KNOWN, or empty for a program of another kind."""
        name = PurePath(self.program[0]).name
        return name if name in KNOWN else ""

    def templates(self) -> Data:
        return [self.prompt, self.cwd, dict(self.env)]


class CliKind(AgentKind):
    """Agents that run coding agents."""

    work = Cli
    takes_gateway = True
    #: Such an agent may work for long; one that is silent for minutes hangs.
    timeout = Timeout(attempt=1800.0, idle=300.0)
    heading = "coding agents"
    secrets = ("env",)

    def keys(self) -> type[FileModel]:
        from pydantic import Field

        from agentdeck.workflow import file_model
        from agentdeck.workflow.file_model import ABSENT, FileModel, Text, Texts, Values

        class CliSpec(FileModel):
            """A coding agent and its task."""

            program: Annotated[list[Text], Field(min_length=1), file_model.ONE_OR_MANY]
            prompt: file_model.FilledTemplate
            allow: Texts = ABSENT
            cwd: file_model.FilledTemplate = ABSENT
            model: Text = ABSENT
            env: Values = ABSENT

        class CliKeys(FileModel):
            """The keys of agents that run coding agents."""

            cli: CliSpec = ABSENT

        return CliKeys

    def check(self, agent: AgentInFile) -> None:
        spec = agent.given["cli"]
        program, allow = spec["program"], spec.get("allow", [])
        family = PurePath(program[0]).name
        if family == "gemini" and agent.given.get("gateway") is True:
            what = "gemini speaks an API of its own, which the gateway does not have"
            agent.fault(("gateway",), what, "use claude or codex, or remove it", key=True)
        if len(program) == 1 and any(map(str.isspace, program[0])):
            words = ", ".join(program[0].split())
            agent.fault(("cli", "program"), "a program with arguments is a list", f"write [{words}]")
        elif family == "codex" and allow and (len(allow) > 1 or allow[0] not in SANDBOXES):
            agent.fault(("cli", "allow"), "for codex this is its sandbox", f"name one of {', '.join(SANDBOXES)}")
        elif family not in KNOWN:
            for key in ("allow", "model"):
                if key in spec:
                    what = f"{key} is only known for {', '.join(KNOWN)}"
                    agent.fault(("cli", key), what, "put it into the program's arguments", key=True)

    def can_use_gateway(self, agent: Agent) -> bool:
        assert isinstance(agent.does, Cli)
        return agent.does.family != "gemini"

    def target(self, agent: Agent) -> str:
        assert isinstance(agent.does, Cli)
        return shlex.join(agent.does.program)

    def label(self, agent: Agent) -> str:
        assert isinstance(agent.does, Cli)
        return agent.does.family or PurePath(agent.does.program[0]).name

    def asked(self, agent: Agent, fill: Fill) -> dict[str, Data]:
        does = agent.does
        assert isinstance(does, Cli)
        return {
            "program": shlex.join(does.program),
            "prompt": show(fill(does.prompt)),
            "model": does.model,
            "allow": ", ".join(does.allow),
            "cwd": fill(does.cwd),
            "env": fill(dict(does.env)),
        }

    def runner(self, agent: Agent, context: WorkflowContext) -> Verb:
        from agentdeck.agents.cli_runner import CliVerb

        return CliVerb(agent, context)

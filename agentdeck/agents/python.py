"""`python`: an agent that calls a function, or an object of a known framework."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentdeck.errors import Issue
from agentdeck.workflow.agent_kind import AgentKind, AgentWithCode, Fill
from agentdeck.workflow.functions import file_of, module_file
from agentdeck.workflow.model import Agent, Data, Work

if TYPE_CHECKING:
    from agentdeck.agents.verb import Verb, WorkflowContext
    from agentdeck.workflow.file_model import FileModel


@dataclass(frozen=True, slots=True)
class Python(Work):
    """Call `module:name`."""

    target: str
    verb = "python"

    def templates(self) -> Data:
        return None


class PythonKind(AgentKind):
    """Agents that call a function."""

    work = Python
    takes_gateway = True
    heading = "modules"
    templates = ()
    reads_any_input = True
    places = True

    def keys(self) -> type[FileModel]:
        from agentdeck.workflow.file_model import ABSENT, FileModel, FunctionName

        class PythonKeys(FileModel):
            """The keys of agents that call Python."""

            python: FunctionName = ABSENT

        return PythonKeys

    def check_code(self, agent: AgentWithCode) -> Iterator[Issue]:
        from agentdeck.agents.python_binding import check_python

        return check_python(agent)

    def label(self, agent: Agent) -> str:
        return self.target(agent).rpartition("/")[2]

    def asked(self, agent: Agent, fill: Fill) -> dict[str, Data]:
        return {"call": self.target(agent)}

    def files(self, agent: Agent, folder: Path, function: Any) -> Iterator[tuple[Path, str]]:
        """The module of the function."""
        path = module_file(self.target(agent), folder) if function is None else file_of(function)
        if path is not None:
            yield path, "module"

    def runner(self, agent: Agent, context: WorkflowContext) -> Verb:
        from agentdeck.agents.python_runner import PythonVerb

        return PythonVerb(agent, context)

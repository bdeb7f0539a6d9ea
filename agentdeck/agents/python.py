"""`python`: an agent that calls a function, or an object of a known framework."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, WithJsonSchema

from agentdeck.errors import Issue
from agentdeck.workflow import file_model
from agentdeck.workflow.agent_kind import AgentKind, AgentWithCode, Fill
from agentdeck.workflow.file_model import ABSENT, FileModel
from agentdeck.workflow.model import Agent, Data, Work

if TYPE_CHECKING:
    from agentdeck.agents.verb import Verb, WorkflowContext


@dataclass(frozen=True, slots=True)
class Python(Work):
    """Call `module:name`."""

    target: str
    verb = "python"

    def templates(self) -> Data:
        return None


TARGET = r"[\w.]+:[\w.<>]+"


def _target(text: str) -> None:
    if not re.fullmatch(TARGET, text):
        raise ValueError(f"{text!r} is not module:name; write it like shop.tools:extract")


class PythonKeys(FileModel):
    """The keys of agents that call Python."""

    python: Annotated[
        str, Field(strict=True), file_model.NOT_EMPTY, file_model.checked(_target),
        WithJsonSchema({"type": "string", "pattern": f"^{TARGET}$"}),
    ] = ABSENT  # fmt: skip


class PythonKind(AgentKind):
    """Agents that call a function."""

    work = Python
    keys = PythonKeys
    heading = "modules"
    templates = ()
    reads_any_input = True

    def check_code(self, agent: AgentWithCode) -> Iterator[Issue]:
        from agentdeck.agents.python_binding import check_python

        return check_python(agent)

    def label(self, agent: Agent) -> str:
        return self.target(agent).rpartition("/")[2]

    def asked(self, agent: Agent, fill: Fill) -> dict[str, Data]:
        return {"call": self.target(agent)}

    def files(self, agent: Agent, folder: Path, function: Any) -> Iterator[tuple[Path, str]]:
        """The module of the function."""
        path = _module_file(self.target(agent), folder) if function is None else _file_of(function)
        if path is not None:
            yield path, "module"

    def runner(self, agent: Agent, context: WorkflowContext) -> Verb:
        from agentdeck.agents.python_runner import PythonVerb

        return PythonVerb(agent, context)


def _file_of(function: Any) -> Path | None:
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except (TypeError, ValueError):
        return None
    return Path(file).resolve() if file else None


def _module_file(target: str, folder: Path) -> Path | None:
    """The file of `module:name`: of the imported module, else of the one that an import would find."""
    name = target.partition(":")[0]
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if isinstance(loaded, str):
        return Path(loaded).resolve()
    for place in (folder, Path.cwd()):
        stem = place.joinpath(*name.split("."))
        for path in (stem.with_name(stem.name + ".py"), stem / "__init__.py"):
            if path.is_file():
                return path.resolve()
    return None

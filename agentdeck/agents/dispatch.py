"""`dispatch`: an agent that chooses which agent runs next. The scheduler itself carries it out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from agentdeck.workflow.agent_kind import AgentInFile, AgentKind
from agentdeck.workflow.model import Agent, Dispatch
from agentdeck.workflow.references import Found, in_expression
from agentdeck.workflow.wording import likely_fix
from agentdeck.workflow.yaml_source import Path_, as_map

if TYPE_CHECKING:
    from agentdeck.workflow.file_model import FileModel


class DispatchKind(AgentKind):
    """Agents that choose agents."""

    work = Dispatch

    def keys(self) -> type[FileModel]:
        from agentdeck.workflow import file_model
        from agentdeck.workflow.file_model import ABSENT, ByType, FileModel, Table, Text

        Cases = Annotated[dict[str, Text], Table(least=1, raw=True)]

        class DispatchSpec(FileModel):
            """A choice between agents by the value of `on`."""

            on: file_model.Expression
            cases: Cases = ABSENT
            otherwise: Text = ABSENT

        class DispatchKeys(FileModel):
            """The keys of agents that choose agents."""

            dispatch: Annotated[DispatchSpec | file_model.Expression, ByType("", "map", "other")] = ABSENT
            cases: Cases = ABSENT
            otherwise: Text = ABSENT

        return DispatchKeys

    def expressions(self, given: Mapping[str, Any], path: Path_) -> Iterator[Found]:
        dispatch = given["dispatch"]
        yield from in_expression(dispatch, (*path, "dispatch"))
        yield from in_expression(as_map(dispatch).get("on"), (*path, "dispatch", "on"))

    def chooses(self, given: Mapping[str, Any]) -> dict[str, str]:
        both = {**as_map(given["dispatch"]), **given}
        otherwise = {"otherwise": both["otherwise"]} if "otherwise" in both else {}
        found = {**as_map(both.get("cases")), **otherwise}
        return {case: target for case, target in found.items() if isinstance(target, str)}

    def check(self, agent: AgentInFile) -> None:
        """What it chooses are other agents of the file."""
        name, found = agent.name, self.chooses(agent.given)
        if not found:
            agent.fault(("dispatch",), f"{name} has no cases", "add cases: {value: agent}", key=True)
        for case, target in found.items():
            if target not in agent.agents:
                at: Path_ = ("otherwise",) if case == "otherwise" else ("cases", case)
                if agent.is_written("dispatch", *at):
                    at = ("dispatch", *at)
                agent.fault(at, f"{target} is not an agent here", likely_fix(target, agent.agents))
            elif target == name:
                agent.fault(("dispatch",), f"{name} dispatches to itself", "name another agent", key=True)

    def label(self, agent: Agent) -> str:
        return f"by {self.target(agent)}"

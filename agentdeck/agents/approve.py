"""`approve`: an agent that asks an operator. The scheduler and the engine themselves carry it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from agentdeck.workflow.agent_kind import AgentInFile, AgentKind, Fill
from agentdeck.workflow.builder import default_fault, input_
from agentdeck.workflow.model import Agent, Approve, Data
from agentdeck.workflow.yaml_source import Path_

if TYPE_CHECKING:
    from agentdeck.workflow.file_model import FileModel


class ApproveKind(AgentKind):
    """Agents that ask an operator."""

    work = Approve
    heading = "people"

    def keys(self) -> type[FileModel]:
        from agentdeck.workflow import file_model
        from agentdeck.workflow.file_model import ABSENT, Duration, FileModel, Table, TypedField

        class ApproveSpec(FileModel):
            """A question to an operator. The short form is its text."""

            SHORT: ClassVar[str] = "ask"
            ask: file_model.FilledTemplate
            show: file_model.Template = ABSENT
            fields: Annotated[dict[str, TypedField], Table()] = ABSENT
            within: Duration = ABSENT
            otherwise: Literal["approve", "reject"] = ABSENT

        class ApproveKeys(FileModel):
            """The keys of agents that ask an operator."""

            approve: ApproveSpec = ABSENT

        return ApproveKeys

    def make(self, given: Mapping[str, Any]) -> Approve:
        value = given["approve"]
        specs = value.get("fields", {})
        fields = {key: input_(spec).type for key, spec in specs.items()}
        defaults = {key: spec["default"] for key, spec in specs.items() if "default" in spec}
        return Approve(**{**value, "fields": fields, "defaults": defaults})

    def check(self, agent: AgentInFile) -> None:
        """The names of its fields, and their defaults."""
        at: Path_ = ("approve", "fields")
        fields = agent.given["approve"].get("fields", {})
        if "approved" in fields:
            what = "approved is reserved for the decision"
            agent.fault((*at, "approved"), what, "give the field another name", key=True)
        for name, spec in fields.items():
            if wrong := default_fault(spec):
                agent.fault((*at, name, "default"), f"the default of {name} is {wrong}")

    def warn(self, agent: AgentInFile) -> None:
        """Agents that need the approval and do not read `approved`: they also run after a rejection. Fields
        without a default, where a timeout approves: they are null then."""
        for other, needs in agent.needs.items():
            if agent.name in needs and (agent.name, "approved") not in agent.reads(other):
                self._warn_of_rejection(agent, agent.beside(other))
        asks = agent.given["approve"]
        if asks.get("otherwise") != "approve" or asks.get("within") is None:
            return
        for key, field in asks.get("fields", {}).items():
            if "default" not in field:
                what = f"{key} is null when {agent.name} is approved by timeout"
                fix = f"give it a default: {key}: {{ type: …, default: … }}"
                agent.fault(("approve", "fields", key), what, fix, key=True, warning=True)

    def _warn_of_rejection(self, agent: AgentInFile, other: AgentInFile) -> None:
        need, written = agent.name, other.given.get("needs")
        item: Path_ = ("needs", written.index(need)) if isinstance(written, list) else ("needs",)
        at = item if other.is_written(*item) else ("needs",) if "needs" in other.given else ()
        what = f"{other.name} also runs when {need} is rejected"
        fix = f"read {need}.approved in its when" if "when" in other.given else f"add when: {need}.approved"
        other.fault(at, what, fix, key=not at, warning=True)

    def label(self, agent: Agent) -> str:
        return "approval"

    def asked(self, agent: Agent, fill: Fill) -> dict[str, Data]:
        assert isinstance(agent.does, Approve)
        return {"asks": fill(agent.does.ask), "shows": fill(agent.does.show)}

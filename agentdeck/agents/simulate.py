"""`simulate`: a model of an agent: takes its time, logs its lines, fails with its probability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from agentdeck.workflow.agent_kind import AgentKind
from agentdeck.workflow.model import Agent, Data, Work
from agentdeck.workflow.references import Found, expressions_in
from agentdeck.workflow.yaml_source import Path_, as_map

if TYPE_CHECKING:
    from agentdeck.agents.verb import Verb, WorkflowContext
    from agentdeck.workflow.file_model import FileModel


@dataclass(frozen=True, slots=True)
class Simulate(Work):
    """A model of an agent. `takes` seconds, ± `jitter` (a share); `fails` is the share of attempts that fail;
    `says` are log lines; `returns` is a template; `tokens` are (in, out)."""

    takes: float = 1.0
    jitter: float = 0.0
    fails: float = 0.0
    says: tuple[str, ...] = ()
    returns: Data = None
    tokens: tuple[int, int] = (0, 0)
    verb = "simulate"
    simulated = True

    def seconds(self) -> float:
        return self.takes


class SimulateKind(AgentKind):
    """Agents that do nothing, and take time."""

    work = Simulate
    seeded = True

    def keys(self) -> type[FileModel]:
        from pydantic import BeforeValidator, Field

        from agentdeck.workflow import file_model
        from agentdeck.workflow.file_model import ABSENT, ByType, Duration, FileModel, Value

        def two(value: Any) -> Any:
            if isinstance(value, list) and len(value) != 2:
                raise file_model.fault(f"{len(value)} values; 2 are needed")
            return value

        class TokensSpec(FileModel):
            """Tokens of one simulated call."""

            in_: file_model.Size = Field(alias="in", default_factory=lambda: 0)
            out: file_model.Size = ABSENT

        TokensPair = Annotated[list[file_model.Size], BeforeValidator(two), Field(min_length=2, max_length=2)]

        class SimulateSpec(FileModel):
            """A model of an agent. The short form is its duration."""

            takes: Duration = ABSENT
            jitter: file_model.Share = ABSENT
            fails: file_model.Share = ABSENT
            says: Annotated[list[file_model.Template], file_model.ONE_OR_MANY] = ABSENT
            returns: Value = ABSENT
            tokens: Annotated[TokensPair | TokensSpec, ByType("[in, out]", "list", "map")] = ABSENT

        class SimulateKeys(FileModel):
            """The keys of simulated agents."""

            simulate: Annotated[SimulateSpec | Duration, ByType("", "map", "other")] = ABSENT

        return SimulateKeys

    def make(self, given: Mapping[str, Any]) -> Simulate:
        values = given["simulate"]
        tokens = values.get("tokens") if isinstance(values, Mapping) else None
        if isinstance(tokens, Mapping):
            values = {**values, "tokens": [tokens.get("in", 0), tokens.get("out", 0)]}
        made = super().make({"simulate": values})
        assert isinstance(made, Simulate)
        return made

    def expressions(self, given: Mapping[str, Any], path: Path_) -> Iterator[Found]:
        for key in ("says", "returns"):
            yield from expressions_in(as_map(given["simulate"]).get(key), (*path, "simulate", key))

    def target(self, agent: Agent) -> str:
        return ""

    def label(self, agent: Agent) -> str:
        assert isinstance(agent.does, Simulate)
        return f"simulated {agent.does.takes:g}s"

    def runner(self, agent: Agent, context: WorkflowContext) -> Verb:
        from agentdeck.agents.simulate_runner import SimulateVerb

        return SimulateVerb(agent, context)

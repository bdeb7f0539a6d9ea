"""The workflow file as pydantic models: which keys there are, and the values they take."""

from __future__ import annotations

import re
from dataclasses import fields
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    WrapValidator,
    create_model,
    model_validator,
)

from agentdeck.workflow import file_model, units
from agentdeck.workflow.agent_kind import broken_kinds, file_keys
from agentdeck.workflow.deck_file import ProviderLimitsSpec, Workers
from agentdeck.workflow.expressions import OPERATORS
from agentdeck.workflow.file_model import (
    ABSENT,
    ByType,
    Duration,
    FileModel,
    Flag,
    FunctionName,
    Problem,
    Table,
    Text,
    Texts,
    Type,
    TypedField,
    Value,
    Values,
    name_check,
)
from agentdeck.workflow.model import KNOWN_PARAMETERS, ProviderLimits
from agentdeck.workflow.wording import kind

#: Names with a meaning in expressions.
RESERVED_NAMES = (
    *("inputs", "needs", "item", "previous", "run", "task", "output", "env", "secret", "true", "false", "null"),
    *OPERATORS,
)
MAX_ATTEMPTS = 1000
PERCENTILE = r"p\d{1,2}"


def _percentile(text: str) -> None:
    if not re.fullmatch(PERCENTILE, text):
        raise ValueError(f"{text!r} is not a percentile; write it like p95")


Attempts = Annotated[int, Field(strict=True, ge=1, le=MAX_ATTEMPTS), file_model.WHOLE]


class InputSpec(TypedField):
    """An input of the workflow. The short form is its type."""

    about: file_model.AnyText = ABSENT


class RetrySpec(FileModel):
    """Attempts of a step, and the time between them."""

    attempts: Attempts = ABSENT
    delay: Duration = ABSENT
    factor: Annotated[float, file_model.NumberRange(1, 100)] = ABSENT
    max_delay: Duration = ABSENT
    escalate: Flag = ABSENT
    on: FunctionName = ABSENT


Retry = Annotated[Attempts | RetrySpec, ByType("a number of attempts or a map", "number", "map")]


class TimeoutSpec(FileModel):
    """The four clocks of a step."""

    queue: Duration = ABSENT
    attempt: Annotated[Literal["auto"] | Duration, ByType("", "auto", "other")] = ABSENT
    idle: Duration = ABSENT
    total: Duration = ABSENT


Timeout = Annotated[Literal["auto"] | TimeoutSpec | Duration, ByType("", "auto", "map", "other")]
Quorum = Annotated[file_model.Share | file_model.Positive, ByType("a number or a share", "text", "number")]


class JoinSpec(FileModel):
    """When a step starts, seen from its needs."""

    kind: Literal["all", "any", "quorum", "progressive"] = ABSENT
    quorum: Quorum = ABSENT
    within: Duration = ABSENT
    min: file_model.Positive = ABSENT
    rest: Literal["cancel", "finish"] = ABSENT


Join = Annotated[
    Literal["all", "any", "progressive"] | JoinSpec, ByType("all, any, progressive or a map", "text", "map")
]


class OnErrorSpec(FileModel):
    """The agent that replaces this one after the last attempt, and what happens when it fails too."""

    fallback: Text
    then: Literal["fail", "continue"] = ABSENT


OnError = Annotated[
    Literal["fail", "continue"] | OnErrorSpec, ByType("fail, continue or {fallback: agent}", "text", "map")
]

# Agents --------------------------------------------------------------------------------------------------


class RepeatSpec(FileModel):
    """Run a step again until an expression holds."""

    until: file_model.Expression
    max: Attempts = ABSENT


class Defaults(FileModel):
    """Keys that `defaults` and agents both have."""

    tier: Text = ABSENT
    timeout: Timeout = ABSENT
    retry: Retry = ABSENT
    on_error: OnError = ABSENT
    priority: Literal["high", "normal", "low"] = ABSENT
    max_parallel: file_model.Positive = ABSENT
    cache: Duration = ABSENT
    gateway: Flag = ABSENT
    hedge: Annotated[
        str, Field(strict=True), file_model.NOT_EMPTY, file_model.checked(_percentile),
        WithJsonSchema({"type": "string", "pattern": f"^{PERCENTILE}$"}),
    ] = ABSENT  # fmt: skip


#: Names that a resource cannot have: they stand for something else where limits are named.
RESERVED_LIMITS = (
    *("workers", "agents", "budget", "limits", "resources", "usd"),
    *("timeout", "attempts", "max_parallel", *(field.name for field in fields(ProviderLimits))),
)
ResourceName = Annotated[str, name_check("a resource", RESERVED_LIMITS, "is the name of another limit")]
_RESOURCES = file_model.name_pattern(RESERVED_LIMITS)


class AgentKeys(Defaults):
    """The keys of every agent, whatever it does."""

    about: file_model.AnyText = ABSENT
    needs: Texts = ABSENT
    with_: Values = Field(alias="with", default_factory=dict)
    when: file_model.Expression = ABSENT
    each: file_model.Expression = ABSENT
    join: Join = ABSENT
    once: file_model.FilledTemplate = ABSENT
    repeat: RepeatSpec = ABSENT
    output: Annotated[dict[str, Type], Table(least=1)] = ABSENT
    expect: file_model.Expression = ABSENT
    spare: Flag = ABSENT
    uses: Annotated[dict[ResourceName, file_model.Amount], Table(pattern=_RESOURCES, least=1)] = ABSENT
    place: Text = ABSENT


# Limits and budgets --------------------------------------------------------------------------------------


def _resource_name_problem(name: str) -> Problem | None:
    try:
        TypeAdapter(ResourceName).validate_python(name)
    except ValidationError as error:
        context = error.errors()[0]["ctx"]
        return Problem(context["what"], context["fix"])
    return None


LimitSpec = Annotated[
    file_model.Amount | ProviderLimitsSpec,
    ByType("a map with the limits of a provider, or the amount of a resource", "number", "map"),
    WrapValidator(file_model.pass_invalid),
]


class LimitsSpec(FileModel, extra="allow"):
    """`workers`, the amounts of resources by name, and providers by name."""

    __pydantic_extra__: dict[str, LimitSpec]
    workers: Workers = ABSENT

    @model_validator(mode="before")
    @classmethod
    def _check_resource_names(cls, limits: Any) -> Any:
        """Puts a Problem in the place of each resource that has a name it cannot have."""
        for name in limits if isinstance(limits, dict) else ():
            if name != "workers" and file_model.type_of(limits[name]) == "number":
                problem = _resource_name_problem(name)
                limits = {**limits, name: problem} if problem else limits
        return limits


def _share_name(name: str) -> str:
    units.share(name)
    return name


Ladder = Annotated[
    dict[Annotated[str, AfterValidator(_share_name)], Literal["reduce", "downgrade", "drop", "ask", "stop"]],
    Table(pattern=file_model.SHARE_PATTERN, least=1),
]


class TaskBudgetSpec(FileModel):
    """What one task may use."""

    usd: file_model.NotNegative = ABSENT
    tokens: file_model.Size = ABSENT
    ladder: Ladder = ABSENT


class BudgetSpec(TaskBudgetSpec):
    """What a run may use."""

    task: TaskBudgetSpec = ABSENT


# The whole file ------------------------------------------------------------------------------------------


AgentName = Annotated[str, name_check("an agent", RESERVED_NAMES, "has a meaning in expressions")]
_INPUTS, _AGENTS = file_model.name_pattern(KNOWN_PARAMETERS), file_model.name_pattern(RESERVED_NAMES)
InputName = Annotated[str, name_check("an input", KNOWN_PARAMETERS, "has another meaning in Python agents")]


def _format_number(value: Any) -> Any:
    if file_model.type_of(value) != "number":
        raise file_model.fault(f"the number 1 is needed here, not {kind(value)}")
    return value


class WorkflowKeys(FileModel):
    """The keys of a workflow file; those of its agents without the keys of any kind."""

    agentdeck: Annotated[int, Field(strict=True, ge=1, le=1), file_model.WHOLE, BeforeValidator(_format_number)]
    name: Text
    about: file_model.AnyText = ABSENT
    inputs: Annotated[dict[InputName, InputSpec], Table(pattern=_INPUTS)] = ABSENT
    limits: LimitsSpec = ABSENT
    budget: BudgetSpec = ABSENT
    defaults: Defaults = ABSENT
    agents: Annotated[dict[AgentName, AgentKeys], Table(pattern=_AGENTS, least=1)]
    output: Value = ABSENT
    mode: Literal["parallel", "sequential", "adaptive"] = ABSENT


@cache
def workflow_file() -> type[FileModel]:
    """The model of a workflow file, whose agents have the keys of all kinds that are installed."""
    agent: Any = create_model(
        "AgentSpec",
        __base__=(AgentKeys, *file_keys().models.values()),
        __doc__="A node of the graph, with exactly one verb.",
    )
    agent.ONE_OF = tuple(file_keys().models)
    agent.BROKEN = {verb: f"{verb} does not load: {why}" for verb, why in broken_kinds().items()}
    agents: Any = Annotated[dict[AgentName, agent], Table(pattern=_AGENTS, least=1)]
    return create_model("WorkflowFile", __base__=WorkflowKeys, __doc__="A workflow file.", agents=agents)

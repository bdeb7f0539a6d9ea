"""The workflow file as pydantic models: which keys there are, and the values they take."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    WithJsonSchema,
    WrapValidator,
)

from agentdeck.workflow import units
from agentdeck.workflow.deck_file import ProviderLimitsSpec, Workers
from agentdeck.workflow.expressions import OPERATORS
from agentdeck.workflow.file_model import (
    ABSENT,
    AUTO,
    LIST,
    MAP,
    NOT_EMPTY,
    NUMBER,
    NUMBER_AS_TEXT,
    ONE_OR_MANY,
    OTHER,
    SHARE_PATTERN,
    TEXT,
    WHOLE,
    AnyText,
    ByType,
    Duration,
    Expression,
    FileModel,
    FilledTemplate,
    Flag,
    NotNegative,
    NumberRange,
    Positive,
    Share,
    Size,
    Table,
    Template,
    Text,
    Value,
    checked,
    fault,
    name_check,
    name_pattern,
    pass_invalid,
    type_of,
)
from agentdeck.workflow.model import KNOWN_PARAMETERS, VERBS
from agentdeck.workflow.url import check_listed, compile_url
from agentdeck.workflow.wording import kind

#: Names with a meaning in expressions.
RESERVED_AGENT_NAMES = (
    *("inputs", "needs", "item", "previous", "run", "task", "output", "env", "secret", "true", "false", "null"),
    *OPERATORS,
)
MAX_ATTEMPTS = 1000
TARGET = r"[\w.]+:[\w.<>]+"
PERCENTILE = r"p\d{1,2}"


def _target(text: str) -> None:
    if not re.fullmatch(TARGET, text):
        raise ValueError(f"{text!r} is not module:name; write it like shop.tools:extract")


def _percentile(text: str) -> None:
    if not re.fullmatch(PERCENTILE, text):
        raise ValueError(f"{text!r} is no percentile; write it like p95")


def _two(value: Any) -> Any:
    if isinstance(value, list) and len(value) != 2:
        raise fault(f"{len(value)} values; 2 are needed")
    return value


TypeName = Literal["any", "string", "number", "integer", "boolean", "list", "object"]
Choices = Annotated[list[Value], Field(min_length=1)]
Type = Annotated[TypeName | Choices, ByType("a type or a list of choices", TEXT, LIST)]
Attempts = Annotated[int, Field(strict=True, ge=1, le=MAX_ATTEMPTS), WHOLE]


class ApprovalField(FileModel):
    """A value that an answer to an approval gives. The short form is its type."""

    SHORT: ClassVar[str] = "type"
    type: Type = ABSENT
    default: Any = ABSENT
    choices: Annotated[list[Any], Field(min_length=1)] = ABSENT


class InputSpec(ApprovalField):
    """An input of the workflow. The short form is its type."""

    about: AnyText = ABSENT


class RetrySpec(FileModel):
    """Attempts of a step, and the time between them."""

    attempts: Attempts = ABSENT
    delay: Duration = ABSENT
    factor: Annotated[float, NumberRange(1, 100)] = ABSENT
    max_delay: Duration = ABSENT
    escalate: Flag = ABSENT


Retry = Annotated[Attempts | RetrySpec, ByType("a number of attempts or a map", NUMBER, MAP)]


class TimeoutSpec(FileModel):
    """The four clocks of a step."""

    queue: Duration = ABSENT
    attempt: Annotated[Literal["auto"] | Duration, ByType("", AUTO, OTHER)] = ABSENT
    idle: Duration = ABSENT
    total: Duration = ABSENT


Timeout = Annotated[Literal["auto"] | TimeoutSpec | Duration, ByType("", AUTO, MAP, OTHER)]
Quorum = Annotated[Share | Positive, ByType("a number or a share", TEXT, NUMBER)]


class JoinSpec(FileModel):
    """When a step starts, seen from its needs."""

    kind: Literal["all", "any", "quorum", "progressive"] = ABSENT
    quorum: Quorum = ABSENT
    within: Duration = ABSENT
    min: Positive = ABSENT
    rest: Literal["cancel", "finish"] = ABSENT


Join = Annotated[
    Literal["all", "any", "progressive"] | JoinSpec, ByType("all, any, progressive or a map", TEXT, MAP)
]


class OnErrorSpec(FileModel):
    """The agent that replaces this one after the last attempt, and what happens when it fails too."""

    fallback: Text
    then: Literal["fail", "continue"] = ABSENT


OnError = Annotated[
    Literal["fail", "continue"] | OnErrorSpec, ByType("fail, continue or {fallback: agent}", TEXT, MAP)
]
Cases = Annotated[dict[str, Text], Table(least=1, raw=True)]
Values = Annotated[dict[str, Value], Table(raw=True)]

# Verbs ---------------------------------------------------------------------------------------------------


class HttpSpec(FileModel):
    """One request. The short form is its url."""

    SHORT: ClassVar[str] = "url"
    url: Annotated[
        str, Field(strict=True), NUMBER_AS_TEXT, NOT_EMPTY, checked(compile_url),
        WithJsonSchema({"type": ["string", "number"], "pattern": r"\S"}),
    ]  # fmt: skip
    method: Text = ABSENT
    headers: Values = ABSENT
    body: Value = ABSENT
    hosts: Annotated[
        list[Annotated[Text, checked(check_listed)]], Field(min_length=1), ONE_OR_MANY
    ] = ABSENT  # fmt: skip


Arguments = Annotated[list[Template], Field(min_length=1)]


class CommandSpec(FileModel):
    """A program with its arguments, without a shell."""

    args: Arguments
    env: Values = ABSENT
    cwd: FilledTemplate = ABSENT
    input: Template = ABSENT
    ok: Annotated[
        list[Annotated[int, Field(strict=True, ge=0, le=255), WHOLE]], Field(min_length=1), ONE_OR_MANY
    ] = ABSENT


Command = Annotated[Arguments | CommandSpec, ByType('a list of arguments, like ["git", "log"],', LIST, MAP)]


class TokensSpec(FileModel):
    """Tokens of one simulated call."""

    in_: Size = Field(alias="in", default_factory=lambda: 0)
    out: Size = ABSENT


TokensPair = Annotated[list[Size], BeforeValidator(_two), Field(min_length=2, max_length=2)]
Tokens = Annotated[TokensPair | TokensSpec, ByType("[in, out]", LIST, MAP)]


class SimulateSpec(FileModel):
    """A model of an agent. The short form is its duration."""

    takes: Duration = ABSENT
    jitter: Share = ABSENT
    fails: Share = ABSENT
    says: Annotated[list[Template], ONE_OR_MANY] = ABSENT
    returns: Value = ABSENT
    tokens: Tokens = ABSENT


Simulate = Annotated[SimulateSpec | Duration, ByType("", MAP, OTHER)]


class DispatchSpec(FileModel):
    """A choice between agents by the value of `on`."""

    on: Expression
    cases: Cases = ABSENT
    otherwise: Text = ABSENT


Dispatch = Annotated[DispatchSpec | Expression, ByType("", MAP, OTHER)]


class ApproveSpec(FileModel):
    """A question to an operator. The short form is its text."""

    SHORT: ClassVar[str] = "ask"
    ask: FilledTemplate
    show: Template = ABSENT
    fields: Annotated[dict[str, ApprovalField], Table()] = ABSENT
    within: Duration = ABSENT
    otherwise: Literal["approve", "reject"] = ABSENT


# Agents --------------------------------------------------------------------------------------------------


class RepeatSpec(FileModel):
    """Run a step again until an expression holds."""

    until: Expression
    max: Attempts = ABSENT


class Defaults(FileModel):
    """Keys that `defaults` and agents both have."""

    tier: Text = ABSENT
    timeout: Timeout = ABSENT
    retry: Retry = ABSENT
    on_error: OnError = ABSENT
    priority: Literal["high", "normal", "low"] = ABSENT
    max_parallel: Positive = ABSENT
    cache: Duration = ABSENT
    hedge: Annotated[
        str, Field(strict=True), NOT_EMPTY, checked(_percentile),
        WithJsonSchema({"type": "string", "pattern": f"^{PERCENTILE}$"}),
    ] = ABSENT  # fmt: skip


class AgentSpec(Defaults):
    """A node of the graph, with exactly one verb."""

    ONE_OF: ClassVar[tuple[str, ...]] = VERBS
    about: AnyText = ABSENT
    needs: Annotated[list[Text], ONE_OR_MANY] = ABSENT
    with_: Values = Field(alias="with", default_factory=dict)
    when: Expression = ABSENT
    each: Expression = ABSENT
    join: Join = ABSENT
    once: FilledTemplate = ABSENT
    repeat: RepeatSpec = ABSENT
    output: Annotated[dict[str, Type], Table(least=1)] = ABSENT
    expect: Expression = ABSENT
    spare: Flag = ABSENT
    python: Annotated[
        str, Field(strict=True), NOT_EMPTY, checked(_target),
        WithJsonSchema({"type": "string", "pattern": f"^{TARGET}$"}),
    ] = ABSENT  # fmt: skip
    prompt: FilledTemplate = ABSENT
    http: HttpSpec = ABSENT
    command: Command = ABSENT
    simulate: Simulate = ABSENT
    dispatch: Dispatch = ABSENT
    workflow: Text = ABSENT
    approve: ApproveSpec = ABSENT
    # With prompt.
    system: Template = ABSENT
    model: Text = ABSENT
    temperature: Annotated[float, NumberRange(0, 2)] = ABSENT
    max_output: Size = ABSENT
    stop: Annotated[list[Text], ONE_OR_MANY] = ABSENT
    images: Annotated[list[FilledTemplate], ONE_OR_MANY] = ABSENT
    tools: Annotated[list[Text], ONE_OR_MANY] = ABSENT
    # With dispatch.
    cases: Cases = ABSENT
    otherwise: Text = ABSENT


# Limits and budgets --------------------------------------------------------------------------------------


class LimitsSpec(FileModel, extra="allow"):
    """`workers`, and providers by name."""

    __pydantic_extra__: dict[str, Annotated[ProviderLimitsSpec, WrapValidator(pass_invalid)]]
    workers: Workers = ABSENT


def _share_name(name: str) -> str:
    units.share(name)
    return name


Ladder = Annotated[
    dict[Annotated[str, AfterValidator(_share_name)], Literal["reduce", "downgrade", "drop", "ask", "stop"]],
    Table(pattern=SHARE_PATTERN, least=1),
]


class TaskBudgetSpec(FileModel):
    """What one task may use."""

    usd: NotNegative = ABSENT
    tokens: Size = ABSENT
    ladder: Ladder = ABSENT


class BudgetSpec(TaskBudgetSpec):
    """What a run may use."""

    task: TaskBudgetSpec = ABSENT


# The whole file ------------------------------------------------------------------------------------------


AgentName = Annotated[str, name_check("an agent", RESERVED_AGENT_NAMES, "means something in expressions")]
InputName = Annotated[str, name_check("an input", KNOWN_PARAMETERS, "means something else to a Python agent")]


def _format_number(value: Any) -> Any:
    if type_of(value) != NUMBER:
        raise fault(f"the number 1 is needed here, not {kind(value)}")
    return value


class WorkflowFile(FileModel):
    """A workflow file."""

    agentdeck: Annotated[int, Field(strict=True, ge=1, le=1), WHOLE, BeforeValidator(_format_number)]
    name: Text
    about: AnyText = ABSENT
    inputs: Annotated[dict[InputName, InputSpec], Table(pattern=name_pattern(KNOWN_PARAMETERS))] = ABSENT
    limits: LimitsSpec = ABSENT
    budget: BudgetSpec = ABSENT
    defaults: Defaults = ABSENT
    agents: Annotated[
        dict[AgentName, AgentSpec], Table(pattern=name_pattern(RESERVED_AGENT_NAMES), least=1)
    ]  # fmt: skip
    output: Value = ABSENT
    mode: Literal["parallel", "sequential", "adaptive"] = ABSENT

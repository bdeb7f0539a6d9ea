"""The workflow file as pydantic models: which keys there are, and the values they take."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, WrapValidator

from agentdeck.workflow import file_model, units
from agentdeck.workflow.deck_file import ProviderLimitsSpec, Workers
from agentdeck.workflow.expressions import OPERATORS
from agentdeck.workflow.file_model import (
    ABSENT,
    ByType,
    Duration,
    FileModel,
    Flag,
    Table,
    Text,
    Value,
    name_check,
)
from agentdeck.workflow.model import KNOWN_PARAMETERS, VERBS
from agentdeck.workflow.url import UrlTemplate, check_listed
from agentdeck.workflow.wording import kind

#: Names with a meaning in expressions.
RESERVED_NAMES = (
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
        raise file_model.fault(f"{len(value)} values; 2 are needed")
    return value


TypeName = Literal["any", "string", "number", "integer", "boolean", "list", "object"]
Choices = Annotated[list[Value], Field(min_length=1)]
Type = Annotated[TypeName | Choices, ByType("a type or a list of choices", "text", "list")]
Attempts = Annotated[int, Field(strict=True, ge=1, le=MAX_ATTEMPTS), file_model.WHOLE]


class ApprovalField(FileModel):
    """A value that an answer to an approval gives. The short form is its type."""

    SHORT: ClassVar[str] = "type"
    type: Type = ABSENT
    default: Any = ABSENT
    choices: Annotated[list[Any], Field(min_length=1)] = ABSENT


class InputSpec(ApprovalField):
    """An input of the workflow. The short form is its type."""

    about: file_model.AnyText = ABSENT


class RetrySpec(FileModel):
    """Attempts of a step, and the time between them."""

    attempts: Attempts = ABSENT
    delay: Duration = ABSENT
    factor: Annotated[float, file_model.NumberRange(1, 100)] = ABSENT
    max_delay: Duration = ABSENT
    escalate: Flag = ABSENT


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
Texts = Annotated[list[Text], file_model.ONE_OR_MANY]
Cases = Annotated[dict[str, Text], Table(least=1, raw=True)]
Values = Annotated[dict[str, Value], Table(raw=True)]

# Verbs ---------------------------------------------------------------------------------------------------


Host = Annotated[Text, file_model.checked(check_listed)]


class HttpSpec(FileModel):
    """One request. The short form is its url."""

    SHORT: ClassVar[str] = "url"
    url: Annotated[
        str, Field(strict=True), file_model.NUMBER_AS_TEXT, file_model.NOT_EMPTY, file_model.checked(UrlTemplate),
        WithJsonSchema({"type": ["string", "number"], "pattern": r"\S"}),
    ]  # fmt: skip
    method: Text = ABSENT
    headers: Values = ABSENT
    body: Value = ABSENT
    hosts: Annotated[list[Host], Field(min_length=1), file_model.ONE_OR_MANY] = ABSENT


Arguments = Annotated[list[file_model.Template], Field(min_length=1)]
ExitCode = Annotated[int, Field(strict=True, ge=0, le=255), file_model.WHOLE]


class CommandSpec(FileModel):
    """A program with its arguments, without a shell."""

    args: Arguments
    env: Values = ABSENT
    cwd: file_model.FilledTemplate = ABSENT
    input: file_model.Template = ABSENT
    ok: Annotated[list[ExitCode], Field(min_length=1), file_model.ONE_OR_MANY] = ABSENT


Command = Annotated[Arguments | CommandSpec, ByType('a list of arguments, like ["git", "log"],', "list", "map")]


class TokensSpec(FileModel):
    """Tokens of one simulated call."""

    in_: file_model.Size = Field(alias="in", default_factory=lambda: 0)
    out: file_model.Size = ABSENT


TokensPair = Annotated[list[file_model.Size], BeforeValidator(_two), Field(min_length=2, max_length=2)]
Tokens = Annotated[TokensPair | TokensSpec, ByType("[in, out]", "list", "map")]


class SimulateSpec(FileModel):
    """A model of an agent. The short form is its duration."""

    takes: Duration = ABSENT
    jitter: file_model.Share = ABSENT
    fails: file_model.Share = ABSENT
    says: Annotated[list[file_model.Template], file_model.ONE_OR_MANY] = ABSENT
    returns: Value = ABSENT
    tokens: Tokens = ABSENT


Simulate = Annotated[SimulateSpec | Duration, ByType("", "map", "other")]


class DispatchSpec(FileModel):
    """A choice between agents by the value of `on`."""

    on: file_model.Expression
    cases: Cases = ABSENT
    otherwise: Text = ABSENT


Dispatch = Annotated[DispatchSpec | file_model.Expression, ByType("", "map", "other")]


class ApproveSpec(FileModel):
    """A question to an operator. The short form is its text."""

    SHORT: ClassVar[str] = "ask"
    ask: file_model.FilledTemplate
    show: file_model.Template = ABSENT
    fields: Annotated[dict[str, ApprovalField], Table()] = ABSENT
    within: Duration = ABSENT
    otherwise: Literal["approve", "reject"] = ABSENT


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
    hedge: Annotated[
        str, Field(strict=True), file_model.NOT_EMPTY, file_model.checked(_percentile),
        WithJsonSchema({"type": "string", "pattern": f"^{PERCENTILE}$"}),
    ] = ABSENT  # fmt: skip


class AgentSpec(Defaults):
    """A node of the graph, with exactly one verb."""

    ONE_OF: ClassVar[tuple[str, ...]] = VERBS
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
    python: Annotated[
        str, Field(strict=True), file_model.NOT_EMPTY, file_model.checked(_target),
        WithJsonSchema({"type": "string", "pattern": f"^{TARGET}$"}),
    ] = ABSENT  # fmt: skip
    prompt: file_model.FilledTemplate = ABSENT
    http: HttpSpec = ABSENT
    command: Command = ABSENT
    simulate: Simulate = ABSENT
    dispatch: Dispatch = ABSENT
    workflow: Text = ABSENT
    approve: ApproveSpec = ABSENT
    # With prompt.
    system: file_model.Template = ABSENT
    model: Text = ABSENT
    temperature: Annotated[float, file_model.NumberRange(0, 2)] = ABSENT
    max_output: file_model.Size = ABSENT
    stop: Texts = ABSENT
    images: Annotated[list[file_model.FilledTemplate], file_model.ONE_OR_MANY] = ABSENT
    tools: Texts = ABSENT
    # With dispatch.
    cases: Cases = ABSENT
    otherwise: Text = ABSENT


# Limits and budgets --------------------------------------------------------------------------------------


class LimitsSpec(FileModel, extra="allow"):
    """`workers`, and providers by name."""

    __pydantic_extra__: dict[str, Annotated[ProviderLimitsSpec, WrapValidator(file_model.pass_invalid)]]
    workers: Workers = ABSENT


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


AgentName = Annotated[str, name_check("an agent", RESERVED_NAMES, "means something in expressions")]
_INPUTS, _AGENTS = file_model.name_pattern(KNOWN_PARAMETERS), file_model.name_pattern(RESERVED_NAMES)
InputName = Annotated[str, name_check("an input", KNOWN_PARAMETERS, "means something else to a Python agent")]


def _format_number(value: Any) -> Any:
    if file_model.type_of(value) != "number":
        raise file_model.fault(f"the number 1 is needed here, not {kind(value)}")
    return value


class WorkflowFile(FileModel):
    """A workflow file."""

    agentdeck: Annotated[int, Field(strict=True, ge=1, le=1), file_model.WHOLE, BeforeValidator(_format_number)]
    name: Text
    about: file_model.AnyText = ABSENT
    inputs: Annotated[dict[InputName, InputSpec], Table(pattern=_INPUTS)] = ABSENT
    limits: LimitsSpec = ABSENT
    budget: BudgetSpec = ABSENT
    defaults: Defaults = ABSENT
    agents: Annotated[dict[AgentName, AgentSpec], Table(pattern=_AGENTS, least=1)]
    output: Value = ABSENT
    mode: Literal["parallel", "sequential", "adaptive"] = ABSENT

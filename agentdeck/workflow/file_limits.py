"""Limits and budgets in files, as pydantic models: workflow and deck share them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, WrapValidator

from agentdeck.workflow import units
from agentdeck.workflow.file_model import (
    ABSENT,
    NUMBER,
    SHARE_PATTERN,
    TEXT,
    WHOLE,
    FileModel,
    NotNegative,
    Positive,
    RateLimit,
    Size,
    Table,
    by_type,
    kind_needed,
    pass_invalid,
)

MAX_WORKERS = 10_000


class ProviderLimitsSpec(FileModel):
    """Limits of one provider."""

    requests: RateLimit = ABSENT
    tokens: RateLimit = ABSENT
    input_tokens: RateLimit = ABSENT
    output_tokens: RateLimit = ABSENT
    concurrent: Annotated[
        Annotated[Literal["auto"], Tag(TEXT)] | Annotated[Positive, Tag(NUMBER)],
        Discriminator(by_type, **kind_needed("a number or auto")),
    ] = ABSENT


Workers = Annotated[int, Field(strict=True, ge=1, le=MAX_WORKERS), WHOLE]


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

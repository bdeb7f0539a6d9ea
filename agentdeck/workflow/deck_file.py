"""The deck file as pydantic models: which keys there are, and the values they take."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agentdeck.workflow import file_model
from agentdeck.workflow.file_model import (
    ABSENT,
    AnyText,
    ByType,
    FileModel,
    Flag,
    NotNegative,
    Positive,
    Size,
    Table,
    Text,
)

SECRET_NAME = r"[A-Za-z_][A-Za-z0-9_]*"


MAX_WORKERS = 10_000

Workers = Annotated[int, Field(strict=True, ge=1, le=MAX_WORKERS), file_model.WHOLE]


class ProviderLimitsSpec(FileModel):
    """Limits of one provider."""

    requests: file_model.RateLimit = ABSENT
    tokens: file_model.RateLimit = ABSENT
    input_tokens: file_model.RateLimit = ABSENT
    output_tokens: file_model.RateLimit = ABSENT
    concurrent: Annotated[Literal["auto"] | Positive, ByType("a number or auto", "text", "number")] = ABSENT


class KeyCommand(FileModel):
    """A command that prints a key."""

    command: Annotated[list[Text], Field(min_length=1)]


class ProviderSpec(FileModel):
    """A provider of models, with its key and its limits."""

    type: Literal["anthropic", "openai", "simulated"]
    key: Annotated[Text | KeyCommand, ByType("a key", "text", "map")] = ABSENT
    url: Text = ABSENT
    limits: ProviderLimitsSpec = ABSENT
    learn: Flag = ABSENT
    fails: file_model.Share = ABSENT
    throttles: file_model.Share = ABSENT
    max_retry_after: file_model.Duration = ABSENT


class PriceSpec(FileModel):
    """Dollars per million tokens."""

    in_: NotNegative = Field(alias="in")
    out: NotNegative
    cached: NotNegative = ABSENT


class ModelSpec(FileModel):
    """A model of a provider."""

    provider: Text
    id: Text
    price: PriceSpec = ABSENT
    max_output: Size = ABSENT


class McpServerSpec(FileModel):
    """A server of tools: a program that is started, or a url."""

    ONE_OF: ClassVar[tuple[str, ...]] = ("command", "url")
    command: Annotated[list[AnyText], Field(min_length=1)] = ABSENT
    env: Annotated[dict[str, AnyText], Table(raw=True)] = ABSENT
    url: Text = ABSENT
    headers: Annotated[dict[str, AnyText], Table(raw=True)] = ABSENT


class SecretSpec(FileModel):
    """Where the value of a secret is read."""

    ONE_OF: ClassVar[tuple[str, ...]] = ("env", "command", "file")
    env: Text = ABSENT
    command: Annotated[list[Text], Field(min_length=1)] = ABSENT
    file: Text = ABSENT


class DeckLimitsSpec(FileModel):
    """Limits of all runs of this deck."""

    workers: Workers = ABSENT


SecretName = Annotated[str, file_model.name_check("a secret", pattern=SECRET_NAME)]


class DeckFile(FileModel):
    """A deck."""

    agentdeck: Annotated[int, Field(strict=True, ge=1, le=1), file_model.WHOLE]
    limits: DeckLimitsSpec = ABSENT
    providers: Annotated[dict[str, ProviderSpec], Table()] = ABSENT
    models: Annotated[dict[str, ModelSpec], Table()] = ABSENT
    tiers: Annotated[
        dict[str, Annotated[list[Text], Field(min_length=1), file_model.ONE_OR_MANY]], Table()
    ] = ABSENT  # fmt: skip
    mcp: Annotated[dict[str, McpServerSpec], Table()] = ABSENT
    secrets: Annotated[dict[SecretName, SecretSpec], Table(pattern=f"^{SECRET_NAME}$")] = ABSENT

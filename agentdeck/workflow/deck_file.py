"""The deck file as pydantic models: which keys there are, and the values they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import CoreSchema, core_schema

from agentdeck.plugins import PluginError
from agentdeck.workflow import file_model, place_types, provider_types, units
from agentdeck.workflow.deck import LOCAL
from agentdeck.workflow.file_model import (
    ABSENT,
    AnyText,
    ByType,
    FileModel,
    Flag,
    Json,
    NotNegative,
    Positive,
    Size,
    Table,
    Text,
    fault,
)
from agentdeck.workflow.model import ProviderLimits, Rate
from agentdeck.workflow.wording import did_you_mean
from agentdeck.workflow.yaml_source import INVALID

SECRET_NAME = r"[A-Za-z_][A-Za-z0-9_]*"


MAX_WORKERS = 10_000

Workers = Annotated[int, Field(strict=True, ge=1, le=MAX_WORKERS), file_model.WHOLE]


class PacedRateSpec(FileModel):
    """A rate whose calls are spaced out, but for a burst."""

    rate: file_model.RateText
    burst: Size = ABSENT

    @field_validator("burst")
    @classmethod
    def _fits(cls, burst: int, info: ValidationInfo) -> int:
        rate = info.data.get("rate")
        if isinstance(rate, Rate) and isinstance(burst, int):
            if rate.burst is not None:
                raise fault("the burst is given twice", "remove it here, or from the rate")
            units.with_burst(rate, burst)
        return burst


def _as_rate(value: Any) -> Any:
    if not isinstance(value, PacedRateSpec) or "burst" not in value.model_fields_set:
        return value.rate if isinstance(value, PacedRateSpec) else value
    complete = isinstance(value.rate, Rate) and isinstance(value.burst, int)
    return units.with_burst(value.rate, value.burst) if complete else INVALID


#: A rate, or a map of a rate and a burst; read as a Rate.
PacedRate = Annotated[
    file_model.RateText | PacedRateSpec, ByType("a rate", "other", "map"), AfterValidator(_as_rate)
]


class ProviderLimitsSpec(FileModel):
    """Limits of one provider."""

    requests: PacedRate = ABSENT
    tokens: file_model.RateLimit = ABSENT
    input_tokens: PacedRate = ABSENT
    output_tokens: file_model.RateLimit = ABSENT
    concurrent: Annotated[Literal["auto"] | Positive, ByType("a number or auto", "text", "number")] = ABSENT


class KeyCommand(FileModel):
    """A command that prints a key."""

    command: Annotated[list[Text], Field(min_length=1)]


class Types(NamedTuple):
    """The types that something in the deck can have, each a plugin: their names, and the model of each."""

    names: Callable[[], tuple[str, ...]]
    spec_of: Callable[[str], type[FileModel]]

    def check(self, name: str) -> str:
        known = self.names()
        if name not in known:
            raise fault(f"{name!r} is not one of {', '.join(known)}", did_you_mean(name, known, ""))
        try:
            self.spec_of(name)
        except PluginError as error:
            raise fault(f"the type {name} does not load: {error}", "see agentdeck plugins") from None
        return name


PROVIDERS = Types(provider_types.type_names, provider_types.spec_of)
PLACES = Types(place_types.type_names, place_types.spec_of)
ProviderTypeName = Annotated[
    str, Field(strict=True), AfterValidator(PROVIDERS.check), WithJsonSchema({"type": "string"})
]
PlaceTypeName = Annotated[
    str, Field(strict=True), AfterValidator(PLACES.check), WithJsonSchema({"type": "string"})
]


class ProviderSpec(FileModel):
    """A provider of models, with its key and its limits. A type of providers with keys of its own adds them in a
    subclass."""

    type: ProviderTypeName
    key: Annotated[Text | KeyCommand, ByType("a key", "text", "map")] = ABSENT
    url: Text = ABSENT
    limits: ProviderLimitsSpec = ABSENT
    learn: Flag = ABSENT
    max_retry_after: file_model.Duration = ABSENT


class _UnknownProviderSpec(ProviderSpec):
    """A provider whose type is not known, so that its other keys are not either."""

    model_config = ConfigDict(extra="allow")


class PlaceSpec(FileModel):
    """A place where attempts run. A type of places with keys of its own adds them in a subclass."""

    type: PlaceTypeName
    slots: Workers = ABSENT


class _UnknownPlaceSpec(PlaceSpec):
    """A place whose type is not known, so that its other keys are not either."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True, slots=True)
class ByTypeName:
    """Annotates something that has a type: it is validated with the model of its type, or with that for an
    `unknown` one."""

    types: Types
    unknown: type[FileModel]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._validate, handler(source))

    def _validate(self, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        name = value.get("type") if isinstance(value, dict) else None
        if not isinstance(name, str):
            return handler(value)
        try:
            model = self.types.spec_of(name)
        except (KeyError, PluginError):
            model = self.unknown
        return model.model_validate(value)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        found = []
        for name in self.types.names():
            try:
                model = self.types.spec_of(name)
            except PluginError:
                continue
            of_type = {"properties": {"type": {"const": name}}}
            found.append({**handler(TypeAdapter(model).core_schema), **of_type})
        return {"anyOf": found}


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


class GatewaySpec(FileModel):
    """The gateway, through which agents call models by themselves."""

    all: Flag = ABSENT
    models: Annotated[dict[str, Text], Table(least=1)] = ABSENT


class DeckLimitsSpec(FileModel):
    """Limits of all runs of this deck."""

    workers: Workers = ABSENT


SecretName = Annotated[str, file_model.name_check("a secret", pattern=SECRET_NAME)]


#: Names that a place cannot have: they stand for something else where places or limits are named.
RESERVED_PLACES = (
    *(LOCAL, "workers", "timeout", "attempts", "max_parallel"),
    *(field.name for field in fields(ProviderLimits)),
)
PlaceName = Annotated[str, file_model.name_check("a place", RESERVED_PLACES, "has another meaning")]


class DeckFile(FileModel):
    """A deck."""

    agentdeck: Annotated[int, Field(strict=True, ge=1, le=1), file_model.WHOLE]
    limits: DeckLimitsSpec = ABSENT
    providers: Annotated[
        dict[str, Annotated[ProviderSpec, ByTypeName(PROVIDERS, _UnknownProviderSpec)]], Table()
    ] = ABSENT
    models: Annotated[dict[str, ModelSpec], Table()] = ABSENT
    tiers: Annotated[
        dict[str, Annotated[list[Text], Field(min_length=1), file_model.ONE_OR_MANY]], Table()
    ] = ABSENT  # fmt: skip
    mcp: Annotated[dict[str, McpServerSpec], Table()] = ABSENT
    places: Annotated[
        dict[PlaceName, Annotated[PlaceSpec, ByTypeName(PLACES, _UnknownPlaceSpec)]], Table()
    ] = ABSENT  # fmt: skip
    secrets: Annotated[dict[SecretName, SecretSpec], Table(pattern=f"^{SECRET_NAME}$")] = ABSENT
    gateway: GatewaySpec = ABSENT

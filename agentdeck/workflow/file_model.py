"""What the pydantic models of files have in common: maps with known keys, short forms, units, names, templates.

The models are the only description of the formats. Loaders validate with them (`file_reading` turns the errors
into faults with a place and a fix), and JSON Schemas are made from them. Importing this module imports pydantic:
loaders import it in functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    StrictBool,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from agentdeck.workflow import expressions, units
from agentdeck.workflow.expression_functions import LARGEST_NUMBER
from agentdeck.workflow.expressions import ExpressionError
from agentdeck.workflow.functions import TARGET, check_target
from agentdeck.workflow.model import Data, Rate
from agentdeck.workflow.wording import kind, likely_fix
from agentdeck.workflow.yaml_source import INVALID, Path_

Json: TypeAlias = dict[str, Any]

#: The default of every key that may be absent. The keys that are given are in `model_fields_set`.
ABSENT: Any = Field(default_factory=lambda: None)


class Problem:
    """A value that every type refuses: a fault that is found before the value is validated, at a key of the map.
    `name` is set where the map lacks that key: then the fault is at the map."""

    is_key = True

    def __init__(self, what: str, fix: str, name: str = "") -> None:
        self.what, self.fix, self.name = what, fix, name


def fault(what: str, fix: str = "") -> PydanticCustomError:
    """The error of a validator: what is wrong, and what to write instead."""
    return PydanticCustomError("fault", "{what}", {"what": what, "fix": fix})


def pass_invalid(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Validates a value that is not INVALID."""
    return value if value is INVALID else handler(value)


class FileModel(BaseModel):
    """A map with known keys. Keys that begin with `x-` are left out.

    A value that is not a map is taken for the key `SHORT`. Of `ONE_OF`, exactly one key is given. A value
    that is INVALID has been reported already: it passes, so that the rest can be checked further.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True, populate_by_name=False)
    SHORT: ClassVar[str] = ""
    ONE_OF: ClassVar[tuple[str, ...]] = ()
    #: What one of them gives.
    CHOICE: ClassVar[str] = "verb"
    #: Keys that would be known if their plugin could be loaded, each with what is wrong with it.
    BROKEN: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, value: Any) -> Any:
        """Writes out a short form, and puts a Problem in the place of values that are not allowed here."""
        keys = _keys(cls)
        if not isinstance(value, dict):
            if cls.SHORT and not isinstance(value, Problem):
                return {cls.SHORT: value}
            raise fault(f"a map is needed here, not {kind(value)}", f"with {', '.join(keys)}")
        found = {name: item for name, item in value.items() if not name.startswith("x-")}
        if cls.model_config.get("extra") == "forbid":
            for name in found.keys() - keys.keys():
                if name in cls.BROKEN:
                    found[name] = Problem(cls.BROKEN[name], "see agentdeck plugins")
                else:
                    found[name] = Problem(f"{name} is not a key here", likely_fix(name, keys))
        return found | cls._choice_problems(found) if cls.ONE_OF else found

    @classmethod
    def _choice_problems(cls, given: dict[str, Any]) -> dict[str, Problem]:
        present = [name for name in given if name in cls.ONE_OF]
        if cls.BROKEN.keys() & given.keys():
            return {}
        if not present:
            options = ", ".join(cls.ONE_OF)
            return {cls.ONE_OF[0]: Problem(f"it has no {cls.CHOICE}", f"give it one of {options}", cls.ONE_OF[0])}
        good = [name for name in present if given[name] is not INVALID]
        if len(good) > 1:
            names = " and ".join(good)
            return {good[1]: Problem(f"{names}: only one of them is allowed", "keep one of them")}
        return {}

    _pass_invalid = field_validator("*", mode="wrap")(pass_invalid)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        reference = handler(schema)
        found = handler.resolve_ref_schema(reference)
        found["patternProperties"] = {"^x-": {}}
        if cls.ONE_OF:
            found["oneOf"] = [{"required": [name]} for name in cls.ONE_OF]
        if cls.SHORT:
            whole = dict(found)
            found.clear()
            found["anyOf"] = [whole["properties"][cls.SHORT], whole]
        return reference


@cache
def _keys(model: type[FileModel]) -> dict[str, None]:
    """The keys as they are written in a file, a model's own before those that it inherits."""
    declared = [name for base in model.__mro__ for name in vars(base).get("__annotations__", ())]
    order = {name: place for place, name in enumerate(declared)}
    names = sorted(model.model_fields, key=order.__getitem__)
    return {model.model_fields[name].alias or name: None for name in names}


class Table:
    """Annotates a `dict` with free keys. Keys that begin with `x-` are left out, unless the keys are not ours
    (`raw`: headers, arguments, cases). `pattern` describes the keys in the JSON Schema."""

    def __init__(self, *, pattern: str = "", least: int = 0, raw: bool = False) -> None:
        self.pattern, self.least, self.raw = pattern, least, raw

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner: Any = handler(source)
        item = core_schema.no_info_wrap_validator_function(pass_invalid, inner["values_schema"])
        table: Any = {**inner, "values_schema": item}
        return core_schema.no_info_before_validator_function(self._prepare, table)

    def _prepare(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if len(value) < self.least:
            raise fault("it is empty")
        return value if self.raw else {k: v for k, v in value.items() if not k.startswith("x-")}

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        item = handler(schema).get("additionalProperties", {})
        found: Json = {"type": "object", "additionalProperties": False if self.pattern else item}
        if not self.raw:
            found["patternProperties"] = {"^x-": {}, **({self.pattern: item} if self.pattern else {})}
        return {**found, "minProperties": self.least} if self.least else found


class OneOrMany:
    """Annotates a `list` for which a single item may be written."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: value if isinstance(value, list) else [value], handler(source)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


ONE_OR_MANY = OneOrMany()

# Unions --------------------------------------------------------------------------------------------------


class ByType:
    """Annotates a union whose variants, in their order, take values of these `types`: `text`, `number`, `list`,
    `map`, `auto` for that word, `other` for what no other variant takes. So an error is about the variant that
    was meant. `needed` names what they take. A variant's tag, `<text>`, is part of an error's location, and is no
    key of any file."""

    def __init__(self, needed: str, *types: str) -> None:
        self.needed, self.tags = needed, [f"<{name}>" for name in types]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        variants = dict(zip(self.tags, map(handler.generate_schema, get_args(source)), strict=True))
        return core_schema.tagged_union_schema(
            variants,
            self._tag_of,
            custom_error_type="kind",
            custom_error_message=self.needed,
            custom_error_context={"needed": self.needed},
        )

    def _tag_of(self, value: Any) -> str | None:
        if value == "auto" and "<auto>" in self.tags:
            return "<auto>"
        tag = f"<{type_of(value)}>"
        return tag if tag in self.tags or "<other>" not in self.tags else "<other>"


def type_of(value: Any) -> str:
    """The type of a value of a file: text, number, list, map or other."""
    types = {str: "text", int: "number", float: "number", list: "list", dict: "map"}
    return types.get(type(value), "other")


# Texts ---------------------------------------------------------------------------------------------------


def _not_empty(text: str) -> str:
    if not text.strip():
        raise fault("this is empty", "give a value or remove the key")
    return text


def _number_as_text(value: Any) -> Any:
    """Accepts an unquoted number where a text is needed."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def checked(check: Callable[[str], object]) -> AfterValidator:
    """A validator that calls `check`, which raises ValueError with a sentence `what; fix`."""

    def validate(text: str) -> str:
        try:
            check(text)
        except ExpressionError as error:
            raise ValueError(str(error)) from None
        return text

    return AfterValidator(validate)


NOT_EMPTY = AfterValidator(_not_empty)
NUMBER_AS_TEXT = BeforeValidator(_number_as_text)
_TEXT_OR_NUMBER: Json = {"type": ["string", "number"]}

#: Any text, also an empty one.
AnyText = Annotated[str, Field(strict=True)]
Text = Annotated[str, Field(strict=True), NOT_EMPTY, WithJsonSchema({"type": "string", "pattern": r"\S"})]
#: A function or another object: `module:name`.
FunctionName = Annotated[
    str, Field(strict=True), NOT_EMPTY, checked(check_target),
    WithJsonSchema({"type": "string", "pattern": f"^{TARGET}$"}),
]  # fmt: skip
Expression = Annotated[
    str, Field(strict=True), NUMBER_AS_TEXT, NOT_EMPTY, checked(expressions.Expression),
    WithJsonSchema({**_TEXT_OR_NUMBER, "pattern": r"\S", "minimum": -LARGEST_NUMBER, "maximum": LARGEST_NUMBER}),
]  # fmt: skip
#: Text that may hold `${…}`.
Template = Annotated[
    str, Field(strict=True), NUMBER_AS_TEXT, checked(expressions.Template), WithJsonSchema(_TEXT_OR_NUMBER)
]
FilledTemplate = Annotated[
    str, Field(strict=True), NUMBER_AS_TEXT, NOT_EMPTY, checked(expressions.Template),
    WithJsonSchema({**_TEXT_OR_NUMBER, "pattern": r"\S"}),
]  # fmt: skip


def _bad_templates(value: Data, path: Path_ = ()) -> list[tuple[Path_, str]]:
    """The place and the message of each string in a value that is not a valid template."""
    if isinstance(value, str):
        try:
            expressions.Template(value)
        except ExpressionError as error:
            return [(path, str(error))]
        return []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inner for found in _bad_templates(item, (*path, key))]


def _check_templates(value: Any) -> Any:
    bad = _bad_templates(value)
    if bad:
        details = [
            InitErrorDetails(type=fault(*split_fix(message)), loc=path, input=None) for path, message in bad
        ]
        raise ValidationError.from_exception_data("value", details)
    return value


def split_fix(message: str) -> tuple[str, str]:
    """What is wrong, and the fix, of a message `what; fix`."""
    what, _, fix = message.partition("; ")
    return what, fix


#: Any plain value; every string in it may hold `${…}`.
Value = Annotated[Any, AfterValidator(_check_templates), WithJsonSchema({})]

Texts = Annotated[list[Text], ONE_OR_MANY]
#: Plain values by name: headers, arguments.
Values = Annotated[dict[str, Value], Table(raw=True)]

# Types of values -----------------------------------------------------------------------------------------

TypeName = Literal["any", "string", "number", "integer", "boolean", "list", "object"]
Choices = Annotated[list[Value], Field(min_length=1)]
Type = Annotated[TypeName | Choices, ByType("a type or a list of choices", "text", "list")]


class TypedField(FileModel):
    """A value that an input, or the answer to a question, gives. The short form is its type."""

    SHORT: ClassVar[str] = "type"
    type: Type = ABSENT
    default: Any = ABSENT
    choices: Annotated[list[Any], Field(min_length=1)] = ABSENT


# Numbers and units ---------------------------------------------------------------------------------------


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


#: Accepts 5.0 as 5. In an annotation, bounds come before it: they apply to the number itself.
WHOLE = BeforeValidator(_whole)
Positive = Annotated[int, Field(strict=True, ge=1), WHOLE]
Flag = StrictBool


class NumberRange:
    """Annotates a number with its bounds. Whole numbers stay whole: they are part of a workflow's identity."""

    def __init__(self, least: float, most: float | None = None) -> None:
        self.least, self.most = least, most

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def _validate(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise fault(f"a number is needed here, not {kind(value)}")
        if value < self.least:
            raise fault(f"{value} is too small", f"the least is {self.least:g}")
        if self.most is not None and value > self.most:
            raise fault(f"{value} is too large", f"the most is {self.most:g}")
        return value

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        bounds: Json = {"type": "number", "minimum": self.least}
        return bounds if self.most is None else {**bounds, "maximum": self.most}


def _pattern(pattern: str) -> Json:
    return {"type": "string", "pattern": pattern}


SHARE_PATTERN = r"^\s*(100(\.0+)?|\d{1,2}(\.\d+)?)%\s*$"
NotNegative = Annotated[float, NumberRange(0)]
Duration = Annotated[
    float, PlainValidator(units.duration),
    WithJsonSchema({"anyOf": [_pattern(r"^\s*\d+(\.\d+)?(ms|s|m|h|d)\s*$"), {"const": 0}]}),
]  # fmt: skip
_RATE_PATTERN = r"\d+(\.\d+)?[kM]?/(\d+(\.\d+)?)?(ms|s|min|m|h|d)"
RateLimit = Annotated[
    Rate, PlainValidator(units.rate_without_burst), WithJsonSchema(_pattern(rf"^\s*{_RATE_PATTERN}\s*$")),
]  # fmt: skip
RateText = Annotated[
    Rate, PlainValidator(units.rate),
    WithJsonSchema(_pattern(rf"^\s*{_RATE_PATTERN}(\s+burst\s+\d+[kM]?)?\s*$")),
]  # fmt: skip
Size = Annotated[
    int, PlainValidator(units.size),
    WithJsonSchema({"anyOf": [_pattern(r"^\s*\d+(\.\d+)?[kMG]?\s*$"), {"type": "integer", "minimum": 0}]}),
]  # fmt: skip


def _amount(value: Any) -> Any:
    """An amount of a resource. Whole numbers are whole: amounts are part of a workflow's identity."""
    if not units.thousandths(value):
        raise ValueError(f"{value} is too small; the least is 0.001")
    return _whole(value)


Amount = Annotated[
    float, PlainValidator(_amount), WithJsonSchema({"type": "number", "minimum": 0.001, "maximum": units.MOST}),
]  # fmt: skip
Share = Annotated[float, PlainValidator(units.share), WithJsonSchema(_pattern(SHARE_PATTERN))]

# Names ---------------------------------------------------------------------------------------------------

NAME = r"(?!__)[A-Za-z_][A-Za-z0-9_]*"


def name_check(
    what: str, reserved: tuple[str, ...] = (), reason: str = "", pattern: str = NAME
) -> AfterValidator:
    """A validator of keys that name something: `what` with its article, as in `an agent`."""

    def validate(name: str) -> str:
        if not re.fullmatch(pattern, name):
            raise fault(f"{name!r} is not a valid name for {what}", "use letters, digits and _, a letter first")
        if name in reserved:
            raise fault(f"{name} {reason}", "choose another name")
        return name

    return AfterValidator(validate)


def name_pattern(reserved: tuple[str, ...]) -> str:
    """The same as a regular expression, for the JSON Schema."""
    return rf"^(?!(?:{'|'.join(reserved)})$){NAME}$"

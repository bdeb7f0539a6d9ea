"""The interface between prompts and LLM providers, and the JSON Schema of typed answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

from agentdeck.errors import StepError
from agentdeck.workflow.model import Data, Type

#: Types of fields that JSON Schema has too.
_KINDS = {"string", "number", "integer", "boolean", "object"}


class ToolCall(NamedTuple):
    """A tool call that the model asks for."""

    id: str
    name: str
    arguments: Mapping[str, Data]


class Message(NamedTuple):
    """One message. `role`: user, assistant, tool. `images` are files; `calls` are the tool calls of an
    assistant, `call` is the id of the call that a tool's message answers, and `failed` whether it failed."""

    role: str
    text: str
    images: Sequence[str] = ()
    calls: Sequence[ToolCall] = ()
    call: str = ""
    failed: bool = False


class ToolSpec(NamedTuple):
    """A tool that the model may call. `schema` is the JSON Schema of its arguments."""

    name: str
    about: str
    schema: Mapping[str, Data]


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """A request to a model. `model` is the provider's own id for it. `schema` is the JSON Schema of the answer,
    None for text. `max_output` None: the model's own maximum. `tier` and `seed` are used by the simulated
    provider only.

    The rest is what clients of the gateway ask for; empty or None is the provider's default. `strict`: whether
    the schema is enforced exactly. `tool_choice`: `auto`, `none`, `any`, or `tool:` and the name of one.
    `parallel_calls`: whether several tools may be called at once. `effort` is how much the model is to think.
    `cache`: the client expects the next request to begin like this one."""

    model: str
    messages: Sequence[Message]
    system: str = ""
    schema: Mapping[str, Data] | None = None
    temperature: float | None = None
    max_output: int | None = None
    stop: Sequence[str] = ()
    tools: Sequence[ToolSpec] = ()
    tier: str = "execution"
    seed: int = 0
    strict: bool | None = None
    top_p: float | None = None
    tool_choice: str = ""
    parallel_calls: bool | None = None
    effort: str = ""
    cache: bool = False


class RateHeader(NamedTuple):
    """One limit in a provider's headers; None where it is not reported. `reset` is in seconds from now."""

    limit: int | None = None
    left: int | None = None
    reset: float | None = None


OnText: TypeAlias = Callable[[str], None]
OnSent: TypeAlias = Callable[[], None]
#: By the name of the limit in the deck: requests, tokens, input_tokens, output_tokens.
RateHeaders: TypeAlias = Mapping[str, RateHeader]


@dataclass(frozen=True, slots=True)
class PromptReply:
    """A complete answer. Token counts of None are unknown. `tokens_in` includes `cached_in`. `ended`: stop,
    length, tools, or the provider's own word where it is none of these. `thought`: there was reasoning. `wrong`
    is why the answer cannot be used, although it was complete and is billed."""

    text: str
    calls: Sequence[ToolCall] = ()
    tokens_in: int | None = None
    tokens_out: int | None = None
    cached_in: int | None = None
    ended: str = "stop"
    headers: RateHeaders = field(default_factory=dict)
    simulated: bool = False
    thought: bool = False
    wrong: str = ""


#: What is closed when a run ends: its name, for the operator, and the call.
Closer: TypeAlias = tuple[str, Callable[[], Awaitable[None]]]


def count_fault(count: object) -> str:
    """What is wrong with a number of tokens that a plugin reports; empty where nothing is."""
    if count is None or (type(count) is int and count >= 0):
        return ""
    return f"{count!r:.60}, not a number of tokens"


def check_reply(provider: str, reply: object) -> PromptReply:
    """The reply of a provider. Raises StepError of kind `server`, with the provider's name in the deck, for one
    that breaks the interface: budgets and costs depend on its counts."""
    if not isinstance(reply, PromptReply):
        what = f"its answer is of type {type(reply).__name__}, not PromptReply"
        raise StepError("server", f"provider {provider}: {what}")
    for name in ("tokens_in", "tokens_out", "cached_in"):
        if what := count_fault(getattr(reply, name)):
            raise StepError("server", f"provider {provider}: {name} of its answer is {what}")
    for name in ("text", "ended", "wrong"):
        if not isinstance(getattr(reply, name), str):
            what = f"{name} of its answer is of type {type(getattr(reply, name)).__name__}, not text"
            raise StepError("server", f"provider {provider}: {what}")
    return reply


class Provider(Protocol):
    """One provider of the deck. One object serves all prompts of a run, many at a time.

    `answer` streams: `on_text` is called with each piece of text as it arrives, and with "" for a sign of life
    without text. It raises StepError with a kind of `agentdeck.errors.KINDS`; the text so far is in the fault's
    `detail`. It honours cancellation at once. `on_sent` is called when the last byte of the request has been
    written: from then on the provider's server may count it. It is not called for a request that was not sent
    completely."""

    async def answer(self, request: PromptRequest, on_text: OnText, on_sent: OnSent) -> PromptReply: ...

    async def close(self) -> None: ...


def schema_of(output: Mapping[str, Type]) -> dict[str, Data]:
    """An object with every field required and no others."""
    return {
        "type": "object",
        "properties": {name: _schema(kind) for name, kind in output.items()},
        "required": list(output),
        "additionalProperties": False,
    }


def strict(schema: Mapping[str, Data]) -> bool:
    """Whether providers can enforce the schema exactly: they accept no open lists and objects."""
    return all(field.get("type") in _KINDS - {"object"} for field in _properties(schema).values())


def _properties(schema: Mapping[str, Data]) -> Mapping[str, Data]:
    """Those of an object. Clients of the gateway may send a schema without any, which is never strict."""
    return schema.get("properties") or {"": {}}


def instruction(schema: Mapping[str, Data]) -> str:
    """The schema as an instruction, for a model without support for schemas."""
    return "Answer with one JSON object and nothing else. Its JSON Schema: " + json.dumps(
        schema, ensure_ascii=False
    )


def _schema(kind: Type) -> dict[str, Data]:
    if kind.kind == "choice":
        texts = all(isinstance(choice, str) for choice in kind.choices)
        return {**({"type": "string"} if texts else {}), "enum": list(kind.choices)}
    if kind.kind == "list":
        return {"type": "array", "items": {}}
    return {"type": kind.kind} if kind.kind in _KINDS else {}

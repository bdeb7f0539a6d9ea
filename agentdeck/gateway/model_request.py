"""A call of a model as clients send it, in the terms of a prompt, whatever API they speak."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentdeck.providers.provider import Message, PromptReply, PromptRequest
from agentdeck.workflow.model import Data


class BadRequest(Exception):
    """A request that cannot be served as it is: status 400. `param` is the part of it that is wrong."""

    def __init__(self, message: str, param: str = "") -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """`model` is the name that the client asks for. `prompt` is complete but for the model that will answer it.
    `echo` are values of the request that the answer repeats, `offered` what the answer has to know of its tools,
    by name."""

    model: str
    prompt: PromptRequest
    stream: bool = False
    echo: Mapping[str, Data] = field(default_factory=dict)
    offered: Mapping[str, Any] = field(default_factory=dict)


class ModelAnswer(NamedTuple):
    """The answer to a request. `id` is unique, `created` in seconds since the epoch."""

    id: str
    created: int
    request: ModelRequest
    reply: PromptReply


class CallFailure(NamedTuple):
    """Why a call has no answer: a status of HTTP, a kind in agentdeck's words, and a sentence."""

    status: int
    kind: str
    message: str
    param: str = ""


# Reading JSON -------------------------------------------------------------------------------------------------


def text_at(body: Mapping[str, Data], key: str, default: str = "") -> str:
    value = body.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise BadRequest(f"{key} has to be a string", key)
    return value


def number_at(body: Mapping[str, Data], key: str) -> float | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"{key} has to be a number", key)
    return value


def count_at(body: Mapping[str, Data], *keys: str) -> int | None:
    """The first of these values that is given: a number of tokens."""
    for key in keys:
        value = body.get(key)
        if value is not None:
            if type(value) is not int or value < 1:
                raise BadRequest(f"{key} has to be a whole number above 0", key)
            return value
    return None


def flag_at(body: Mapping[str, Data], key: str) -> bool | None:
    value = body.get(key)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{key} has to be true or false", key)
    return value


def list_at(body: Mapping[str, Data], key: str) -> Sequence[Any]:
    value = body.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadRequest(f"{key} has to be a list", key)
    return value


def map_of(value: Data, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(f"{where} has to be an object", where)
    return value


def stops_at(body: Mapping[str, Data], key: str) -> tuple[str, ...]:
    value = body.get(key)
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise BadRequest(f"{key} has to be a string or a list of strings", key)
    return tuple(stops)


def check_known(body: Mapping[str, Data], known: Collection[str], where: str = "") -> None:
    """Raises BadRequest for a part that is not `known`, unless it says nothing. Nothing is dropped silently: a
    request that means something else than the client thinks is worse than one that is refused."""
    for key, value in body.items():
        if key not in known and value not in (None, False, 0, "", [], {}):
            name = f"{where}.{key}" if where else key
            raise BadRequest(f"{name} is not supported by the gateway of agentdeck", name)


def last_question(messages: Sequence[Message]) -> str:
    """The text of the last message of the user."""
    return next((message.text for message in reversed(messages) if message.role == "user"), "")

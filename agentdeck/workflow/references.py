"""The expressions and templates of agents: the names they read, and the secrets of the deck that they use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

from agentdeck.workflow.expressions import Expression, ExpressionError, Template, split
from agentdeck.workflow.model import Command, Definition, Http
from agentdeck.workflow.yaml_source import Path_, Source, as_map

#: Expressions of an agent. Those that come after its work see its own `output`.
EXPRESSIONS = ("when", "each", "expect")
TEMPLATES = ("with", "once", "prompt", "system", "images", "http", "command", "approve")
#: The keys of an agent whose templates may hold secrets. Their values go to another program or server only.
SECRET_PLACES = (("http", "headers"), ("http", "body"), ("command", "env"))
_SECRET = re.compile(r"secret\.\w+")

#: A dotted name, and the path of the value that contains it.
Reference: TypeAlias = tuple[tuple[str, ...], Path_]
#: The expressions in one value, and its path.
Found: TypeAlias = tuple[list[Expression], Path_]


def expressions_of(name: str, agent: Mapping[str, Any]) -> Iterator[Found]:
    """The expressions in each value of an agent. What is no expression is a fault of its own, and left out."""
    repeat, simulate, dispatch = as_map(agent.get("repeat")), as_map(agent.get("simulate")), agent.get("dispatch")
    path = ("agents", name)
    for key in EXPRESSIONS:
        yield from _in_expression(agent.get(key), (*path, key))
    for key in TEMPLATES:
        yield from expressions_in(agent.get(key), (*path, key))
    yield from _in_expression(repeat.get("until"), (*path, "repeat", "until"))
    for key in ("says", "returns"):
        yield from expressions_in(simulate.get(key), (*path, "simulate", key))
    yield from _in_expression(dispatch, (*path, "dispatch"))
    yield from _in_expression(as_map(dispatch).get("on"), (*path, "dispatch", "on"))


def _in_expression(text: Any, path: Path_) -> Iterator[Found]:
    if isinstance(text, str):
        with suppress(ExpressionError):
            yield [Expression(text)], path


def expressions_in(value: Any, path: Path_) -> Iterator[Found]:
    """The expressions in each string of a plain value."""
    if isinstance(value, str):
        with suppress(ExpressionError):
            yield [part for part in split(value) if isinstance(part, Expression)], path
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from expressions_in(item, (*path, key))


def references(found: Iterable[Found]) -> Iterator[Reference]:
    """Every dotted name that these expressions read."""
    for expressions, path in found:
        for name in sorted({name for expression in expressions for name in expression.references}):
            yield name, path


class SecretUse(NamedTuple):
    """A use of a secret. `path` is its place in the file."""

    agent: str
    name: str
    path: Path_


def secret_uses(definition: Definition) -> Iterator[SecretUse]:
    """Every use of a secret in the agents of a workflow."""
    for name, agent in definition.agents.items():
        parts: dict[str, Any] = {}
        match agent.does:
            case Http(headers=headers, body=body):
                parts = {"headers": dict(headers), "body": body}
            case Command(env=env):
                parts = {"env": dict(env)}
        for ref, path in references(expressions_in(parts, ("agents", name, agent.does.verb))):
            if ref[0] == "secret" and len(ref) > 1:
                yield SecretUse(name, ref[1], path)


def secret_names(template: Template) -> list[str]:
    """The secrets that a template reads."""
    return sorted({ref[1] for ref in template.references if ref[0] == "secret" and len(ref) > 1})


def check_secrets(found: Iterable[Found], source: Source) -> None:
    """Notes a fault for a secret where values are recorded, and for one that is not alone in its `${…}`: a value
    computed from a secret is not recognised, so it cannot be masked in logs and results."""
    for expressions, path in found:
        reading = [one for one in expressions if any(ref[0] == "secret" for ref in one.references)]
        if reading and path[2:4] not in SECRET_PLACES:
            fix = "secrets go into headers and body of http, and env of command"
            source.fault(path, "a secret cannot stand here: it would be recorded", fix)
        elif not all(_SECRET.fullmatch(one.text.strip()) for one in reading):
            source.fault(path, "a secret stands alone in its ${…}", "write ${secret.NAME}")

"""Finds the uses of secrets of the deck (`${secret.NAME}`), and checks that each is allowed in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from agentdeck.workflow.expressions import Expression, Template, split
from agentdeck.workflow.model import Command, Data, Definition, Http
from agentdeck.workflow.references import of_value, references
from agentdeck.workflow.yaml_source import Path_, Source

#: The keys of an agent whose templates may hold secrets. Their values go to another program or server only.
PLACES = (("http", "headers"), ("http", "body"), ("command", "env"))


class SecretUse(NamedTuple):
    """A use of a secret. `path` is its place in the file."""

    agent: str
    name: str
    path: Path_


def secret_uses(definition: Definition) -> Iterator[SecretUse]:
    """Every use of a secret in the agents of a workflow."""
    for name, agent in definition.agents.items():
        parts: dict[str, Data] = {}
        match agent.does:
            case Http(headers=headers, body=body):
                parts = {"headers": dict(headers), "body": body}
            case Command(env=env):
                parts = {"env": dict(env)}
        for key, value in parts.items():
            for ref, path in of_value(value, ("agents", name, agent.does.verb, key)):
                if ref[0] == "secret" and len(ref) > 1:
                    yield SecretUse(name, ref[1], path)


def secret_names(template: Template) -> list[str]:
    """The secrets that a template reads."""
    return sorted({ref[1] for ref in template.references if ref[0] == "secret" and len(ref) > 1})


def check_uses(name: str, agent: Mapping[str, Any], source: Source) -> None:
    """Notes a fault for a secret where values are recorded, and for one that is not alone in its `${…}`: a value
    computed from a secret is not recognised, so it cannot be masked in logs and results."""
    for ref, path in references(dict(agent), ("agents", name)):
        if ref[0] != "secret":
            continue
        if path[2:4] not in PLACES:
            fix = "secrets go into headers and body of http, and env of command"
            source.fault(path, "a secret cannot stand here: it would be recorded", fix)
        elif not _alone(_at(agent, path[2:])):
            source.fault(path, "a secret stands alone in its ${…}", "write ${secret.NAME}")


def _at(value: Any, path: Path_) -> Any:
    for key in path:
        value = value[key]
    return value


def _alone(text: str) -> bool:
    parts = [part for part in split(text) if isinstance(part, Expression)]
    reading = [part for part in parts if any(ref[0] == "secret" for ref in part.references)]
    return all(len(part.references) == 1 and _is_name(part) for part in reading)


def _is_name(part: Expression) -> bool:
    (ref,) = part.references
    return len(ref) == 2 and part.text.strip() == ".".join(ref)

"""The secrets of the deck that agents use, and the places where they may stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from agentdeck.workflow.agent_kind import kind_of, kinds
from agentdeck.workflow.expressions import Template
from agentdeck.workflow.model import Definition, plain
from agentdeck.workflow.references import Found, expressions_in, references
from agentdeck.workflow.yaml_source import Path_, Source

_SECRET = re.compile(r"secret\.\w+")


class SecretUse(NamedTuple):
    """A use of a secret. `path` is its place in the file."""

    agent: str
    name: str
    path: Path_


def secret_uses(definition: Definition) -> Iterator[SecretUse]:
    """Every use of a secret in the agents of a workflow."""
    for name, agent in definition.agents.items():
        for key in kind_of(agent).secrets:
            found = expressions_in(plain(getattr(agent.does, key)), ("agents", name, agent.does.verb, key))
            for ref, path in references(found):
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
        if reading and not _may_hold_secrets(path):
            source.fault(path, "a secret is not allowed here, as it would be recorded", _places())
        elif not all(_SECRET.fullmatch(one.text.strip()) for one in reading):
            source.fault(path, "${…} with a secret must contain nothing else", "write ${secret.NAME}")


def _may_hold_secrets(path: Path_) -> bool:
    kind = kinds().get(str(path[2]))
    return kind is not None and len(path) > 3 and path[3] in kind.secrets


def _places() -> str:
    places = [f"{' and '.join(kind.secrets)} of {verb}" for verb, kind in kinds().items() if kind.secrets]
    return f"secrets are allowed in {', '.join(places[:-1])}, and {places[-1]}"

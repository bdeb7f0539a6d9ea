"""What an import found: a workflow that can be written to a file, and every fault and warning on the way."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from agentdeck.errors import InvalidFile, Issue
from agentdeck.workflow.model import Data

#: References that the file of a workflow may hold. A crew of 300 tasks without context has that many: each task
#: gets the outputs of all earlier ones.
MAX_REFERENCES = 50_000


class Place(NamedTuple):
    """A position in a file that was read. Line and column start at 1, 0 is unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Expression(NamedTuple):
    """A part of a text that is an expression of a workflow, without `${}`."""

    text: str


@dataclass(slots=True)
class ImportedAgent:
    """An agent: its keys as in a workflow file, in the order in which they are written. `notes` become comments
    above it. `shares` names the entry of `ImportedWorkflow.shared` whose keys it takes over."""

    name: str
    keys: dict[str, Data]
    notes: list[str] = field(default_factory=list)
    shares: str = ""


@dataclass(slots=True)
class ImportedWorkflow:
    """A workflow. `notes` become the comment at the top of the file, `shared` its `x-…` keys."""

    name: str
    about: str = ""
    inputs: dict[str, Data] = field(default_factory=dict)
    shared: dict[str, dict[str, Data]] = field(default_factory=dict)
    agents: list[ImportedAgent] = field(default_factory=list)
    output: Data = None
    defaults: dict[str, Data] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Findings:
    """Collects faults and warnings of an import."""

    def __init__(self) -> None:
        self.issues: list[Issue] = []

    def fault(self, place: Place, what: str, fix: str = "") -> None:
        self.issues.append(Issue(*place, what, fix))

    def warn(self, place: Place, what: str, fix: str = "") -> None:
        self.issues.append(Issue(*place, what, fix, warning=True))

    def add(self, issues: Iterable[Issue]) -> None:
        self.issues.extend(issues)

    def raise_faults(self) -> None:
        """Raises InvalidFile with every issue if one of them is a fault."""
        if any(not issue.warning for issue in self.issues):
            raise InvalidFile(self.sorted())

    def sorted(self) -> list[Issue]:
        """Every issue once, by file and position."""
        return sorted(dict.fromkeys(self.issues), key=lambda issue: issue[:3])


class Names:
    """Gives each thing of a framework a name that a workflow file allows, and that nothing else has."""

    def __init__(self, reserved: Collection[str]) -> None:
        self._taken = set(reserved)
        self._given: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The name in the workflow, always the same for a name. Names that are not allowed are changed."""
        if name not in self._given:
            base = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or "step"
            base = f"n{base}" if base[0].isdigit() else base
            found, number = base, 1
            while found in self._taken:
                number += 1
                found = f"{base}_{number}"
            self._taken.add(found)
            self._given[name] = found
        return self._given[name]


def quoted(text: str) -> str:
    """The text as a literal of an expression, its quotes as escapes: `${…}` ends at a brace outside quotes."""
    escapes = {"'": r"\x27", '"': r"\x22"}
    return "'" + "".join(escapes.get(char) or repr(char)[1:-1] for char in text) + "'"


def template(parts: Iterable[str | Expression]) -> str:
    """The text of a workflow file that renders as these parts. `${` in plain text stays plain text."""
    text = ""
    for part in parts:
        if isinstance(part, Expression):
            if text.endswith("$"):  # `$${` would be a plain `${`
                text = text[:-1] + "${'$'}"
            text += f"${{{part.text}}}"
        else:
            text += part.replace("${", "$${")
    return text

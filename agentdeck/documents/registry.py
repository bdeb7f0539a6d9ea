"""Documents by name, and their JSON Schemas. A model is imported when its schema is asked for."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING

from agentdeck.errors import UsageError
from agentdeck.workflow.model import Data
from agentdeck.workflow.schema import deck_schema, schema_of, workflow_schema

if TYPE_CHECKING:
    from pydantic import BaseModel

#: Documents that `--json` prints, by name: module and class.
MODELS = {
    "summary": ("run", "Summary"),
    "runs": ("run", "Runs"),
    "result": ("run", "Result"),
    "event": ("event", "Event"),
    "log": ("step", "LogLine"),
    "step": ("step", "Step"),
    "why": ("step", "Why"),
    "letters": ("step", "Letters"),
    "letter": ("step", "Letter"),
    "limits": ("command", "Limits"),
    "budget": ("command", "Budget"),
    "answer": ("command", "Answer"),
    "plan": ("command", "Plan"),
    "diff": ("command", "Diff"),
    "check": ("command", "Check"),
    "config": ("command", "Config"),
    "info": ("command", "Info"),
    "pruned": ("command", "Pruned"),
    "prune-preview": ("command", "PrunePreview"),
}
#: Files that agentdeck reads.
FILES = ("workflow", "deck")
NAMES = (*FILES, *MODELS)


def model(name: str) -> type[BaseModel]:
    """The model of a document that `--json` prints."""
    module, attribute = MODELS[name]
    found: type[BaseModel] = getattr(import_module(f"agentdeck.documents.{module}"), attribute)
    return found


def schema(name: str) -> dict[str, Data]:
    """The JSON Schema, draft 2020-12, of a file or a document. Raises UsageError for an unknown name."""
    if name == "workflow":
        return workflow_schema()
    if name == "deck":
        return deck_schema()
    if name not in MODELS:
        close = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"there is no schema {name}; {hint}There are {', '.join(NAMES)}")
    return schema_of(model(name), name)

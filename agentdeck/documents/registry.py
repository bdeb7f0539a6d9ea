"""Documents by name, and their JSON Schemas. A model is imported when its schema is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from agentdeck.errors import UsageError
from agentdeck.workflow.model import Data
from agentdeck.workflow.wording import did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel

#: Documents that `--json` prints, by name: module and class.
MODELS = {
    "summary": ("run", "Summary"),
    "runs": ("run", "Runs"),
    "result": ("run", "ResultLine"),
    "event": ("event", "Event"),
    "log": ("step", "LogLine"),
    "step": ("step", "Step"),
    "why": ("step", "Why"),
    "questions": ("question", "Questions"),
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
    "plugins": ("command", "Plugins"),
    "places": ("command", "PlaceStates"),
    "pruned": ("command", "Pruned"),
    "prune-preview": ("command", "PrunePreview"),
    "spans-sent": ("command", "SpansSent"),
}
#: Files that agentdeck reads. What needs the whole file (cycles, unknown names) only the loader checks.
FILES = ("workflow", "deck")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAMES = (*FILES, *MODELS)


def model(name: str) -> type[BaseModel]:
    """The model of a document that `--json` prints, or of a file that the loader reads with it."""
    if name == "workflow":
        from agentdeck.workflow.workflow_file import workflow_file

        return workflow_file()
    if name == "deck":
        from agentdeck.workflow.deck_file import DeckFile

        return DeckFile
    module, attribute = MODELS[name]
    found: type[BaseModel] = getattr(import_module(f"agentdeck.documents.{module}"), attribute)
    return found


def schema(name: str) -> dict[str, Data]:
    """The JSON Schema, draft 2020-12, of a file or a document, without titles made from the names of keys. Raises
    UsageError for an unknown name."""
    if name not in NAMES:
        hint = f"{did_you_mean(name, NAMES, '')} There are {', '.join(NAMES)}".lstrip()
        raise UsageError(f"there is no schema {name}; {hint}")
    from pydantic.json_schema import GenerateJsonSchema

    class WithoutTitles(GenerateJsonSchema):
        def field_title_should_be_set(self, schema: object) -> bool:
            return False

    found = model(name).model_json_schema(schema_generator=WithoutTitles)
    return {"$schema": DIALECT, **found, "title": f"agentdeck {name}"}

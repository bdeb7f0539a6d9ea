"""The JSON Schemas of workflow files and decks, made from the models that the loaders validate with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentdeck.workflow.model import Data

if TYPE_CHECKING:
    from pydantic import BaseModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def workflow_schema() -> dict[str, Data]:
    """The schema of workflow files. What needs the whole graph (cycles, unknown needs) only the loader checks."""
    from agentdeck.workflow.workflow_file import WorkflowFile

    return schema_of(WorkflowFile, "workflow")


def deck_schema() -> dict[str, Data]:
    """The schema of deck.yaml. Whether names refer to providers, models and secrets only the loader checks."""
    from agentdeck.workflow.deck_file import DeckFile

    return schema_of(DeckFile, "deck")


def schema_of(model: type[BaseModel], name: str) -> dict[str, Data]:
    """The JSON Schema of a model, draft 2020-12, without titles made from the names of keys."""
    from pydantic.json_schema import GenerateJsonSchema

    class WithoutTitles(GenerateJsonSchema):
        def field_title_should_be_set(self, schema: object) -> bool:
            return False

    schema = model.model_json_schema(schema_generator=WithoutTitles)
    return {"$schema": DIALECT, **schema, "title": f"agentdeck {name}"}

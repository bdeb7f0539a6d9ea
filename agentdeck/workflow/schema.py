"""The JSON Schemas of workflow files and decks, for editors. Made from the shapes that the loaders read with."""

from __future__ import annotations

from agentdeck.workflow.model import Data

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Data]:
    """A JSON Schema, draft 2020-12. What needs the whole graph (cycles, unknown needs) only the loader checks."""
    from agentdeck.workflow.file_format import WORKFLOW

    return {"$schema": DIALECT, "title": "agentdeck workflow", **WORKFLOW.schema()}


def deck_schema() -> dict[str, Data]:
    """The schema of deck.yaml. Whether names refer to providers, models and secrets only the loader checks."""
    from agentdeck.workflow.deck import DECK

    return {"$schema": DIALECT, "title": "agentdeck deck", **DECK.schema()}

"""The JSON Schema of workflow files, for editors. Made from the shape that the loader reads with."""

from __future__ import annotations

from agentdeck.workflow.file_format import WORKFLOW
from agentdeck.workflow.model import Data


def schema() -> dict[str, Data]:
    """A JSON Schema, draft 2020-12. What needs the whole graph (cycles, unknown needs) only the loader tells."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "agentdeck workflow",
        **WORKFLOW.schema(),
    }

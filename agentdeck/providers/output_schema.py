"""The JSON Schema of an agent's typed `output`, for models and for simulated answers."""

from __future__ import annotations

import json
from collections.abc import Mapping

from agentdeck.workflow.model import Data, Type

_KINDS = {"string", "number", "integer", "boolean", "object"}


def schema_of(output: Mapping[str, Type]) -> dict[str, Data]:
    """An object with every field required and no others."""
    return {
        "type": "object",
        "properties": {name: _schema(kind) for name, kind in output.items()},
        "required": list(output),
        "additionalProperties": False,
    }


def strict(schema: Mapping[str, Data]) -> bool:
    """Whether providers can enforce the schema exactly: they accept no open lists and objects."""
    return all(field.get("type") in _KINDS - {"object"} for field in schema["properties"].values())


def instruction(schema: Mapping[str, Data]) -> str:
    """The schema as an instruction, for a model without support for schemas."""
    return "Answer with one JSON object and nothing else. Its JSON Schema: " + json.dumps(
        schema, ensure_ascii=False
    )


def _schema(kind: Type) -> dict[str, Data]:
    if kind.kind == "choice":
        texts = all(isinstance(choice, str) for choice in kind.choices)
        return {**({"type": "string"} if texts else {}), "enum": list(kind.choices)}
    if kind.kind == "list":
        return {"type": "array", "items": {}}
    return {"type": kind.kind} if kind.kind in _KINDS else {}

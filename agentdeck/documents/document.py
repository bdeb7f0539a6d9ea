"""The base class of all documents."""

from __future__ import annotations

from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict

#: Any JSON value: inputs and outputs of agents.
Json: TypeAlias = Any


class Document(BaseModel):
    """A JSON object with exactly these keys. A key with a default may be absent."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

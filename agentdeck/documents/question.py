"""A question of a run to its operator."""

from __future__ import annotations

from pydantic import Field

from agentdeck.documents.document import Document, Json


class QuestionField(Document):
    """A value that the answer gives."""

    type: str = Field(description="any, string, number, integer, boolean, list, object or choice.")
    choices: list[Json] = Field(default=[], description="The values that a choice has.")
    required: bool = Field(description="Whether the answer must give it: it has no default.")
    default: Json = None


class Question(Document):
    """A step that waits for an answer."""

    run: str
    task: str
    step: str
    agent: str
    at: float = Field(description="When it was asked.")
    text: str
    shown: Json = Field(
        default=None, description="What the approval shows besides, such as an amount or a draft."
    )
    fields: dict[str, QuestionField] = Field(default={}, description="The values that the answer gives, by name.")

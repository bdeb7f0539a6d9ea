"""A question of a run to its operator."""

from __future__ import annotations

from pydantic import Field, RootModel

from agentdeck.documents.document import Document, Json


class QuestionField(Document):
    """A value that the answer gives."""

    type: str = Field(description="any, string, number, integer, boolean, list, object or choice.")
    choices: list[Json] = Field(default=[], description="The values that a choice has.")
    required: bool = Field(description="Whether the answer must give it: it has no default.")
    default: Json = None


class Question(Document):
    """Something that a run asks, and that waits for an answer."""

    kind: str = Field(
        default="approval",
        description="approval: of the workflow. question: of an agent. budget: it is used up, and the run waits.",
    )
    run: str
    task: str = Field(description="Empty for a budget.")
    step: str = Field(description="Empty for a budget.")
    agent: str
    at: float = Field(description="When it was asked.")
    text: str
    shown: Json = Field(default=None, description="What is shown besides, such as an amount or a draft.")
    fields: dict[str, QuestionField] = Field(default={}, description="The values that the answer gives, by name.")
    command: str = Field(default="", description="The command line that answers it.")


class Questions(RootModel[list[Question]]):
    """The questions of one run or of all, as `agentdeck questions --json` prints them."""

"""A question of a run in the form in which Airflow asks people, and their answer to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentdeck.documents.question import Question, QuestionField
from agentdeck.operations.commands import RunCommand, answer
from agentdeck.terminal_text import clean

APPROVE, REJECT, ANSWER = "Approve", "Reject", "Answer"
#: The types of fields in JSON schemas; a field of any other type takes every value.
_TYPES = {
    "string": "string",
    "number": "number",
    "integer": "integer",
    "boolean": "boolean",
    "list": "array",
    "object": "object",
}


@dataclass(frozen=True, slots=True)
class QuestionForm:
    """What Airflow shows: a `subject`, a `body` in Markdown, the `options` of which one is chosen, and for each
    value of the answer its default and the JSON `schemas` of it."""

    subject: str
    body: str
    options: list[str]
    defaults: dict[str, Any]
    schemas: dict[str, dict[str, Any]]


def question_form(question: Question) -> QuestionForm:
    """The form of a question."""
    lines = [clean(question.text, lines=True)] if "\n" in question.text else []
    if question.shown is not None:
        lines.append(_block(question.shown))
    # Without the id of the run: a later try may ask the same of another run, and Airflow keeps the first text.
    lines.append(f"{question.step} of task {question.task}")
    subject = clean(question.text.partition("\n")[0])
    options = [APPROVE, REJECT] if question.kind == "approval" else [ANSWER]
    fields = question.fields
    return QuestionForm(
        subject,
        "\n\n".join(lines),
        options,
        {name: _default(one) for name, one in fields.items()},
        {name: _schema(one) for name, one in fields.items()},
    )


def answer_to(question: Question, chosen: Sequence[str], given: Mapping[str, Any]) -> RunCommand:
    """The command that answers. A value that was left empty and may be is not given."""
    values = {
        name: given[name]
        for name, one in question.fields.items()
        if name in given and (one.required or given[name] is not None)
    }
    return answer(question.step, question.task, REJECT not in chosen, values)


def _schema(one: QuestionField) -> dict[str, Any]:
    if one.choices:
        return {"enum": one.choices}
    kind = _TYPES.get(one.type)
    if kind is None:
        return {}
    return {"type": kind if one.required else [kind, "null"]}


def _default(one: QuestionField) -> Any:
    """What a form shows at first: a required value of which nothing is known has an empty one of its type."""
    if one.default is not None or not one.required:
        return one.default
    if one.choices:
        return one.choices[0]
    return {"string": "", "number": 0, "integer": 0, "boolean": False, "list": [], "object": {}}.get(one.type, "")


def _block(shown: Any) -> str:
    """What a question shows, as a block of Markdown that nothing in it can end."""
    text = shown if isinstance(shown, str) else json.dumps(shown, indent=2, ensure_ascii=False)
    return "\n".join(f"    {line}" for line in clean(text, lines=True).splitlines())

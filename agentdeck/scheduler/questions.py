"""Questions that agents ask while they work, such as the interrupt of a graph: in the form of an approval, so
that the same forms, commands and records answer both.

A question has an `id`, a `text`, and where they are known what it `shows` and the JSON `schema` of its answer.
The properties of an object are the fields of the answer; any other answer is one field, ANSWER."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import required
from agentdeck.scheduler.state import OPEN, Step
from agentdeck.workflow.model import Approve, Data, Type

#: The field of an answer that is one value.
ANSWER = "answer"
#: A field of this name is given by the decision itself: yes or no.
APPROVED = "approved"
_KINDS: dict[str, str] = {"array": "list", "null": "any"}
_KNOWN = ("string", "number", "integer", "boolean", "object")


def current(step: Step) -> dict[str, Data] | None:
    """The question that the step asks now; None where it asks none. Of several, one is asked after the other."""
    return step.questions[0] if step.questions and step.state == OPEN else None


def approval_of(step: Step) -> Approve | None:
    """What the step asks the operator now, an approval or a question; None where it asks nothing."""
    if step.state != OPEN:
        return None
    question = current(step)
    if question is not None:
        return as_approval(question)
    does = step.acting.agent.does
    return does if isinstance(does, Approve) else None


def asks(at: float, step: Step) -> ev.Noted:
    """The event that asks the current question of a step."""
    question = current(step)
    assert question is not None
    text = str(question["text"])
    data: dict[str, Data] = {"asks": text, "shows": question.get("shows")}
    data |= {"question": question["id"], "schema": question.get("schema")}
    return ev.Noted(at, text, step.task.id, step.key, data)


def approval_in(asked: ev.Noted) -> Approve | None:
    """The question in an event as an approval; None where the event asks for an approval of the workflow."""
    data = asked.data or {}
    return as_approval({**data, "text": data["asks"]}) if data.get("question") else None


def as_approval(question: Mapping[str, Data]) -> Approve:
    """A question in the form of an approval."""
    fields, defaults = _fields_of(question.get("schema"))
    return Approve(ask=str(question["text"]), fields=fields, defaults=defaults)


def value_of(question: Mapping[str, Data], answered: ev.StepAnswered) -> Data:
    """The answer as the agent gets it: an object where its schema is one, else the one value. Fields that were
    not given and for which the schema has no default are absent."""
    schema = question.get("schema")
    if not _is_object(schema):
        return answered.fields.get(ANSWER)
    assert isinstance(schema, dict)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    absent = {name for name in answered.defaults if "default" not in _map(properties.get(name))}
    return {name: value for name, value in answered.fields.items() if name not in absent}


def by_decision(question: Mapping[str, Data], approved: bool) -> dict[str, Data] | None:
    """The fields of a plain yes or no; None where the question wants another answer."""
    approval = as_approval(question)
    if APPROVED in approval.fields:
        others = [name for name in approval.fields if name != APPROVED and name not in approval.defaults]
        return None if others else {APPROVED: approved}
    kind = approval.fields[ANSWER].kind if list(approval.fields) == [ANSWER] else ""
    if kind == "boolean" or (kind == "any" and approved):
        return {ANSWER: approved}
    if approved and all(name in approval.defaults for name in approval.fields):
        return {}
    return None


def answer_line(run: str, task: str, step: str, does: Approve | None) -> str:
    """The command line that answers a question, with the fields that an answer has to give."""
    one_value = does is None or list(does.fields) == [ANSWER]
    values = (
        "VALUE" if does is None or one_value else " ".join(f"{one}=…" for one in required(does) or does.fields)
    )
    return f"agentdeck answer {run} {shlex.quote(step)} {values} --task {shlex.quote(task)}"


def with_decision(question: Approve, approved: bool, given: Mapping[str, Data]) -> dict[str, Data]:
    """The values of an answer to an agent's question, with the decision where it has a field APPROVED."""
    return {APPROVED: approved, **given} if APPROVED in question.fields else dict(given)


def _fields_of(schema: Data) -> tuple[dict[str, Type], dict[str, Data]]:
    if not _is_object(schema):
        default = _map(schema).get("default")
        return {ANSWER: _type_of(schema)}, {} if default is None else {ANSWER: default}
    assert isinstance(schema, dict)
    properties, needed = schema["properties"], schema.get("required")
    assert isinstance(properties, dict)
    required = set(needed) if isinstance(needed, list) else set()
    fields = {str(name): _type_of(one) for name, one in properties.items()}
    defaults = {str(name): _map(one).get("default") for name, one in properties.items() if name not in required}
    return fields, defaults


def _is_object(schema: Data) -> bool:
    return isinstance(schema, dict) and isinstance(schema.get("properties"), dict) and bool(schema["properties"])


def _type_of(schema: Data) -> Type:
    given = _map(schema)
    choices = given.get("enum")
    if isinstance(choices, list) and choices:
        return Type("choice", tuple(choices))
    kind = given.get("type")
    if not isinstance(kind, str):
        return Type("any")
    kind = _KINDS.get(kind, kind)
    return Type(kind) if kind == "list" or kind in _KNOWN else Type("any")  # type: ignore[arg-type]


def _map(schema: Data) -> Mapping[str, Data]:
    return schema if isinstance(schema, dict) else {}

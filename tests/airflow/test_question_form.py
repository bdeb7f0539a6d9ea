"""Questions of runs as forms of Airflow."""

from __future__ import annotations

from typing import Any

from agentdeck.airflow.question_form import QuestionForm, answer_to, question_form
from agentdeck.documents.question import Question, QuestionField


def asked(
    kind: str = "approval", text: str = "Refund 20?", shown: Any = None, **fields: QuestionField
) -> Question:
    return Question(
        kind=kind, run="abcdefghjk", task="1", step="gate", agent="gate", at=1.0, text=text, shown=shown,
        fields=fields, command="agentdeck approve …",
    )  # fmt: skip


WHERE = "gate of task 1"


def test_an_approval_is_approved_or_rejected() -> None:
    assert question_form(asked()) == QuestionForm("Refund 20?", WHERE, ["Approve", "Reject"], {}, {})
    assert answer_to(asked(), ["Approve"], {}).args == {
        "step": "gate",
        "task": "1",
        "approved": True,
        "fields": {},
    }
    assert answer_to(asked(), ["Reject"], {}).args["approved"] is False


def test_fields_become_schemas_with_defaults() -> None:
    question = asked(
        reason=QuestionField(type="string", required=True),
        amount=QuestionField(type="integer", required=False, default=3),
        note=QuestionField(type="string", required=False),
        size=QuestionField(type="choice", choices=["S", "L"], required=True),
        more=QuestionField(type="any", required=True),
    )
    form = question_form(question)
    assert form.defaults == {"reason": "", "amount": 3, "note": None, "size": "S", "more": ""}
    assert form.schemas == {
        "reason": {"type": "string"},
        "amount": {"type": ["integer", "null"]},
        "note": {"type": ["string", "null"]},
        "size": {"enum": ["S", "L"]},
        "more": {},
    }
    given = {"reason": "late", "amount": 4, "note": None, "size": "L", "more": [1]}
    expected = {"reason": "late", "amount": 4, "size": "L", "more": [1]}
    assert answer_to(question, ["Approve"], {**given, "unknown": 1}).args["fields"] == expected


def test_a_question_of_an_agent_is_answered_only() -> None:
    question = asked("question", "What now?\nSay it.", answer=QuestionField(type="string", required=True))
    form = question_form(question)
    assert (form.subject, form.options) == ("What now?", ["Answer"])
    assert form.body.splitlines()[:2] == ["What now?", "Say it."]
    assert answer_to(question, ["Answer"], {"answer": "go"}).args["fields"] == {"answer": "go"}


def test_what_is_shown_is_a_block_that_it_cannot_leave() -> None:
    text = question_form(asked(shown="# Big\n```\n\x1b[31mred")).body
    assert text == f"    # Big\n    ```\n    red\n\n{WHERE}"
    assert '    {\n      "a": 1\n    }' in question_form(asked(shown={"a": 1})).body

"""Questions that a run asks: made from its events, and those of a recorded run that are open."""

from __future__ import annotations

from agentdeck.documents.question import Question, QuestionField
from agentdeck.insight.attention import attention_items
from agentdeck.insight.step import approval
from agentdeck.operations.recorded_run import view_of
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import required
from agentdeck.scheduler.questions import approval_in
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.workflow.model import Approve


def question_from(run: str, asked: ev.Noted, does: Approve | None) -> Question:
    """The question of an approval, from the event that asks it. `does` is the approval as the workflow has it,
    None where that is not known."""
    data = asked.data or {}
    return Question.model_construct(
        run=run,
        task=asked.task,
        step=asked.step,
        agent=asked.step.partition("[")[0],
        at=asked.at,
        text=data.get("asks") or asked.text,
        shown=data.get("shows"),
        fields=_fields(does) if does is not None else {},
    )


def _fields(does: Approve) -> dict[str, QuestionField]:
    lacking = required(does)
    return {
        name: QuestionField.model_construct(
            type=kind.kind,
            choices=list(kind.choices),
            required=name in lacking,
            default=does.defaults.get(name),
        )
        for name, kind in does.fields.items()
    }


def recorded_questions(reader: Reader, row: RunRow) -> list[Question]:
    """The questions of a recorded run that have no answer yet, the oldest first."""
    _, view = view_of(reader, row)
    asking = {(item.task, item.step) for item in attention_items(view, view.now) if item.why == "asking"}
    if not asking:
        return []
    latest: dict[tuple[str, str], ev.Noted] = {}
    for event in reader.of_kind(row.run, "noted"):
        if event.asks and (event.task, event.step) in asking:
            latest[event.task, event.step] = event
    return [
        question_from(row.run, event, approval_in(event) or approval(reader, row, event.step, event.task))
        for event in latest.values()
    ]

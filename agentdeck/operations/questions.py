"""Questions that runs ask: made from their events, those of recorded runs that are open, and their answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from agentdeck.documents.question import Question, QuestionField
from agentdeck.errors import UsageError
from agentdeck.operations.commands import RunCommand, answer
from agentdeck.operations.inputs import read
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import command, refusal, required
from agentdeck.scheduler.questions import ANSWER, APPROVED, answer_line, approval_in, with_decision
from agentdeck.store.codec import snake
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.views.open_questions import KINDS, OpenQuestions
from agentdeck.workflow.model import Approve, Data, Type
from agentdeck.workflow.wording import did_you_mean

#: States of runs in which an answer has an effect, now or once the run is resumed.
UNENDED = ("running", "paused", "interrupted")
#: Runs of each state that are looked at, the newest.
LOOKED_AT = 1000
DECISIONS = {"yes": True, "no": False}


def question_from(run: str, asked: ev.Noted, does: Approve | None) -> Question:
    """The question in an event. `does` is what it asks as an approval, None where that is not known."""
    data = asked.data or {}
    own = bool(data.get("question"))
    return Question.model_construct(
        kind="question" if own else "approval",
        run=run,
        task=asked.task,
        step=asked.step,
        agent=asked.step.partition("[")[0],
        at=asked.at,
        text=data.get("asks") or asked.text,
        shown=data.get("shows"),
        fields=_fields(does) if does is not None else {},
        command=(answer_line if own else command)(run, asked.task, asked.step, does),
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


# Open questions -------------------------------------------------------------------------------------------------


def open_questions(reader: Reader, run: str) -> OpenQuestions:
    """The questions of a run that have no answer yet, by its log."""
    found = OpenQuestions()
    _apply_news(reader, run, 0, found)
    return found


def _apply_news(reader: Reader, run: str, after: int, found: OpenQuestions) -> int:
    """Apply the events after this number; returns the number of the last one."""
    for seq, event in reader.of_kinds(run, [snake(kind.__name__) for kind in KINDS], after):
        found.apply(event)
        after = seq
    return after


def recorded_questions(reader: Reader, row: RunRow) -> list[Question]:
    """The questions of a recorded run that have no answer yet, the oldest first. A budget that is used up is one,
    whose step is empty."""
    return _questions(reader, row, open_questions(reader, row.run))


def _questions(reader: Reader, row: RunRow, found: OpenQuestions) -> list[Question]:
    questions = [question_from(row.run, event, asked_as(reader, row, event)) for event in found.asked.values()]
    return [*questions, *([_of_budget(row.run, found.budget)] if found.budget is not None else [])]


class QuestionList:
    """The open questions of all runs that have not ended. Reading them again reads only what has happened
    since."""

    def __init__(self) -> None:
        self._runs: dict[str, tuple[int, OpenQuestions]] = {}

    def read(self, reader: Reader) -> list[Question]:
        """The questions, those of the newest run first."""
        rows = [row for state in UNENDED for row in reader.runs(LOOKED_AT, state=state)]
        rows.sort(key=lambda row: row.started, reverse=True)
        before, self._runs = self._runs, {}
        for row in rows:
            after, found = before.get(row.run, (0, OpenQuestions()))
            self._runs[row.run] = _apply_news(reader, row.run, after, found), found
        return [one for row in rows for one in _questions(reader, row, self._runs[row.run][1])]


def asked_as(reader: Reader, row: RunRow, event: ev.Noted) -> Approve | None:
    """What an event asks, as an approval. None where it is not known: version 0.1 did not record the workflow."""
    from agentdeck.insight.step import approval  # imports the engine

    return approval_in(event) or approval(reader, row, event.step, event.task)


def _of_budget(run: str, paused: ev.RunPaused) -> Question:
    return Question.model_construct(
        kind="budget",
        run=run,
        task="",
        step="",
        agent="",
        at=paused.at,
        text=f"{paused.why}. Raise the budget, or drain the run?",
        shown=None,
        fields={},
        command=f"agentdeck budget {run} +AMOUNT",
    )


# Answers --------------------------------------------------------------------------------------------------------


class StepQuestion(NamedTuple):
    """What a step asks, in the form of an approval. `own`: the agent asks it while it works. `shown` is what it
    shows besides."""

    does: Approve
    own: bool = False
    shown: Data = None


def question_of(reader: Reader, row: RunRow, step: str, task: str | None) -> StepQuestion | None:
    """What a step asks now; else, as the workflow was launched, what it asks when it is its turn. None where that
    is not known."""
    from agentdeck.insight.step import approval

    above, _, name = step.rpartition("/")
    wanted = task or above
    for (of, key), event in open_questions(reader, row.run).asked.items():
        if key in (step, name) and wanted in ("", of) and (own := approval_in(event)) is not None:
            return StepQuestion(own, True, (event.data or {}).get("shows"))
    does = approval(reader, row, step, task)
    return None if does is None else StepQuestion(does)


def answer_command(reader: Reader, row: RunRow, step: str, task: str | None, given: Sequence[str]) -> RunCommand:
    """The command that answers what a step asks. `given` is yes or no, then NAME=VALUE for its fields; or, for an
    answer of one value, that value. Raises UsageError for what does not fit."""
    found = question_of(reader, row, step, task)
    if found is None:
        raise UsageError(f"{step} of {row.run} asks nothing; see `agentdeck questions {row.run}`")
    approved, values = read_answer(found.does, step, given)
    if found.own:
        values = with_decision(found.does, approved, values)
    if found.own and not approved and APPROVED not in values:
        raise UsageError(f"{step} is not answered with no; give {_names(found.does)}, or cancel the step")
    if why := refusal(step, found.does, values):
        raise UsageError(why.replace("--field ", ""))
    return answer(step, task, approved, values)


def read_answer(question: Approve, step: str, given: Sequence[str]) -> tuple[bool, dict[str, Data]]:
    """The decision and the values in the words of an answer."""
    of_one_value = list(question.fields) == [ANSWER]
    words = list(given)
    if of_one_value and len(words) == 1 and not words[0].startswith(f"{ANSWER}="):
        words = [f"{ANSWER}={words[0]}"]
    elif words and words[0] in DECISIONS:
        return DECISIONS[words[0]], _values(question, step, words[1:])
    elif not words:
        raise UsageError(
            f"give an answer to {step}: {'a value' if of_one_value else 'yes, no or ' + _names(question)}"
        )
    return True, _values(question, step, words)


def _names(question: Approve) -> str:
    return " ".join(f"{name}=…" for name in question.fields) or "values"


def _values(question: Approve, step: str, words: Iterable[str]) -> dict[str, Data]:
    values: dict[str, Data] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign:
            raise UsageError(f"{word} is no answer to {step}: give yes, no, or NAME=VALUE ({_names(question)})")
        if question.fields and name not in question.fields:
            known = did_you_mean(name, question.fields, f"it has {', '.join(question.fields)}")
            raise UsageError(f"{step} has no field {name}; {known}")
        try:
            values[name] = read(text, question.fields.get(name, Type()))
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from None
    return values

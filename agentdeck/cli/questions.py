"""`questions` and `answer`: questions of runs to the operator, and the answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from agentdeck.cli import complete
from agentdeck.cli.commands import send
from agentdeck.cli.options import command_options, db_option, json_option, run_argument
from agentdeck.cli.text_tables import out, print_document
from agentdeck.insight.formatting import seconds
from agentdeck.operations.recorded_run import open_store
from agentdeck.terminal_text import clean

if TYPE_CHECKING:
    from agentdeck.documents.question import Question


@click.command()
@click.argument("run", metavar="[RUN]", required=False, shell_complete=complete.runs)
@db_option
@json_option("Print a JSON list.")
def questions(run: str | None, db: str | None, as_json: bool) -> None:
    """List what waits for an answer, in one run or in all: approvals, questions that agents ask while they work,
    and budgets that are used up.

    \b
    Examples:
      agentdeck questions
      agentdeck questions last --json
    """
    from agentdeck.operations.questions import QuestionList, recorded_questions

    with open_store(db) as reader:
        found = QuestionList().read(reader) if run is None else recorded_questions(reader, reader.run(run))
    if as_json:
        from agentdeck.documents.question import Questions

        print_document(Questions(found))
        return
    if not found:
        click.echo("no questions", err=True)
    for question in found:
        for line in _lines(question):
            out(line)


def _lines(question: Question) -> Iterator[str]:
    """One question: where it was asked, what it is, and the command that answers it."""
    where = f"{question.step} of task {question.task}" if question.step else "budget"
    yield clean(f"{question.run}  {where}, asked {seconds(max(0.0, time.time() - question.at))} ago")
    for line in clean(question.text, lines=True).splitlines():
        yield f"  {line}"
    for name, field in question.fields.items():
        kind = f"one of {', '.join(map(str, field.choices))}" if field.choices else field.type
        rest = (
            ""
            if field.required
            else f", default {field.default!r}"
            if field.default is not None
            else ", optional"
        )
        yield clean(f"  {name}: {kind}{rest}")
    yield clean(f"  {question.command}")


@click.command()
@run_argument
@click.argument("step", metavar="STEP", shell_complete=complete.agents)
@click.argument("values", metavar="[yes|no] [VALUE | NAME=VALUE …]", nargs=-1)
@click.option("--task", metavar="TASK", help="In this task; required if the step asks in several tasks.")
@command_options
def answer(run: str, step: str, values: tuple[str, ...], task: str | None, by: str, db: str | None) -> int:
    """Answer what a step asks: an approval with yes or no and the values of its fields, a question of an agent
    with a value, or with the values of its fields.

    `agentdeck questions` lists what is asked. The answer is recorded with your account, this host and the name
    given with --by, before anything goes on.

    \b
    Examples:
      agentdeck answer last sign_off yes reason="seen"
      agentdeck answer last review amount=3 --task 17
      agentdeck answer last review "shorter, please"
    """
    from agentdeck.operations.questions import answer_command

    with open_store(db) as reader:
        row = reader.run(run)
        command = answer_command(reader, row, step, task, values)
    return send(db, row.run, command, by=by)

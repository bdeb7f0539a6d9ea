"""The open questions of all runs, with a page on the selected one, and its answer."""

from __future__ import annotations

import time
from functools import partial

from textual.app import ComposeResult
from textual.containers import Horizontal

from agentdeck.console.actions import bindings
from agentdeck.console.outline import OutlineItem, OutlineView, outline, prose
from agentdeck.console.run_records import RunRecords
from agentdeck.console.screens.dialogs import ask
from agentdeck.console.screens.store_list import StoreListScreen
from agentdeck.console.status_lines import Footer
from agentdeck.console.table import Table
from agentdeck.console.table_model import Column, TableRows
from agentdeck.documents.question import Question
from agentdeck.errors import AgentdeckError
from agentdeck.insight.formatting import moment, seconds
from agentdeck.operations import commands
from agentdeck.operations.questions import QuestionList, StepQuestion
from agentdeck.terminal_text import clean

COLUMNS: tuple[Column[Question], ...] = (
    Column("run", lambda one: clean(one.run), 11, rank=1),
    Column("task", lambda one: clean(one.task), 6, most=18, rank=1, order=lambda one: one.task),
    Column("step", lambda one: clean(one.step or one.kind), 10, flex=1, most=24, order=lambda one: one.step),
    Column("asks", lambda one: clean(" ".join(one.text.split())), 20, flex=3),
    Column("for", lambda one: seconds(max(0.0, time.time() - one.at)), 8, right=True, order=lambda one: -one.at),
)


class QuestionsScreen(StoreListScreen[Question]):
    """The open questions of all runs, read once a second."""

    scope = "questions"
    BINDINGS = bindings("questions")
    CSS = """
    QuestionsScreen Table, QuestionsScreen OutlineView { border: round $line; border-title-color: $text-muted; }
    QuestionsScreen Table:focus, QuestionsScreen OutlineView:focus {
        border: round $primary; border-title-color: $primary;
    }
    QuestionsScreen Table { width: 1fr; }
    QuestionsScreen #sheet { width: 1fr; }
    QuestionsScreen Horizontal { height: 1fr; }
    QuestionsScreen.narrow Horizontal { layout: vertical; }
    QuestionsScreen.narrow Table, QuestionsScreen.narrow #sheet { width: 100%; height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows = TableRows[Question](
            lambda one: (one.run, one.task, one.step), lambda one: f"{one.run} {one.task} {one.step} {one.text}"
        )
        self._table = Table(COLUMNS, self.rows, empty="no run asks anything")
        self._table.border_title = "questions"
        self._questions = QuestionList()
        self._shown: Question | None = None

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield self._table
            sheet = OutlineView()
            sheet.id, sheet.border_title = "sheet", "question"
            yield sheet
        yield Footer()

    def on_mount(self) -> None:
        self._table.focus()

    async def read_rows(self) -> list[Question]:
        return await self.store.read(self._questions.read)

    def show_rows(self, found: list[Question]) -> None:
        self.rows.set_rows(found)
        self._table.refresh_lines()
        self._page()

    @property
    def question(self) -> Question | None:
        """The question under the cursor."""
        return self.rows.row(self._table.cursor) if self.rows.count > self._table.cursor else None

    def on_table_row_changed(self, event: Table.RowChanged) -> None:
        event.stop()
        self._page()
        if event.opened:
            self.action_answer()

    def _page(self) -> None:
        question = self.question
        if question != self._shown or question is None:
            self._shown = question
            self.query_one(OutlineView).show(page(question) if question is not None else [])

    # Actions -------------------------------------------------------------------------------------------------

    def action_answer(self) -> None:
        """Open the form of the selected question; of a budget, say how it is raised."""
        question = self.question
        if question is None:
            self.notify("no question is open", severity="warning")
        elif not question.step:
            self.notify(f"open the run and press B, or: {clean(question.command)}", timeout=8)
        else:
            self.run_worker(self._open_form(question), name="form", group="form", exclusive=True)

    async def _open_form(self, question: Question) -> None:
        from agentdeck.console.screens.answer import AnswerForm

        records = RunRecords(self.console_app.db, question.run)
        try:
            asks: StepQuestion | None = await records.question(question.task, question.step)
        except AgentdeckError as error:
            self.notify(clean(str(error)), severity="error")
            return
        if asks is None:
            self.notify(
                f"its question is not recorded; answer with: {clean(question.command)}", severity="warning"
            )
        elif self.is_active:
            form = AnswerForm(question.task, question.step, asks, records.story(question.task, question.step))
            answer = partial(commands.answer, question.step, question.task)
            ask(self, form, lambda given: self.send_command(question.run, answer(given.approved, given.fields)))

    def action_open(self) -> None:
        if self.question is not None:
            self.console_app.open_run(self.question.run)

    def action_back(self) -> None:
        self.dismiss()


def page(question: Question) -> list[OutlineItem]:
    """A question with what it shows, the fields of its answer, and the command that answers it."""
    items = [*prose(question.text, 0)]
    where = f"{question.step} of task {question.task}" if question.step else "the run's budget"
    items += [OutlineItem(), OutlineItem(f"{question.run}  {where}", "dim")]
    items.append(OutlineItem(f"asked {moment(question.at)}", "dim"))
    if question.shown is not None:
        items += [OutlineItem(), *outline(question.shown, 0, "shows")]
    if question.fields:
        items.append(OutlineItem())
    for name, field in question.fields.items():
        kind = f"one of {', '.join(map(str, field.choices))}" if field.choices else field.type
        items.append(OutlineItem(kind + (", required" if field.required else ""), "text", 0, name))
    return [*items, OutlineItem(), OutlineItem(question.command, "accent")]

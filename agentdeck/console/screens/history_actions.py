"""What an operator does with what was recorded of a run: open a step, ask why it waits, retry or resume."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from agentdeck.console.log.lines import agent_of
from agentdeck.console.pane import Selection
from agentdeck.console.screens.dialogs import Choice, Confirm, LiveSentence, ask, yes_or_no
from agentdeck.console.screens.run_actions import RunContext
from agentdeck.errors import AgentdeckError
from agentdeck.insight.attention import AttentionItem, attention_items
from agentdeck.insight.closed_places import out_of_reach
from agentdeck.insight.limits import limits
from agentdeck.insight.why import explain
from agentdeck.operations import engine_process
from agentdeck.operations.engine_process import EngineProcess
from agentdeck.operations.recorded_run import step_task
from agentdeck.workflow.place_types import slots_name

if TYPE_CHECKING:
    from agentdeck.operations.retry import RetryOffer

#: Starts an engine process that goes on with the run.
StartEngine: TypeAlias = Callable[[Callable[[], EngineProcess]], None]


class HistoryActions:
    """The actions of a run screen that read the store. `hint` shows a sentence for a while."""

    def __init__(self, run: RunContext, start_engine: StartEngine, hint: Callable[[str], None]) -> None:
        self._run = run
        self._start_engine = start_engine
        self._hint = hint
        self._visited: AttentionItem | None = None

    def open(self, selection: Selection) -> None:
        """Show more of what was opened: the story of a step (of an agent, that of its most telling step), the
        timeline of a task, the log of an agent of a sub-workflow."""
        step, task = selection.step_name, selection.task
        if not task and step and "/" not in selection.agent:
            task = step_task(self._run.state.view, step)
        if task and step:
            from agentdeck.console.step_detail import StepDetail

            self._run.screen.app.push_screen(StepDetail(self._run.records.story(task, step)))
        else:
            self._run.panes.show("timeline" if task else "log")

    def next_need(self) -> None:
        """Select the next step that needs attention, in all panes."""
        needs = list(attention_items(self._run.state.view, self._run.state.now, self._run.state.last_output))
        if not needs:
            self._run.screen.notify("nothing needs attention")
            return
        at = needs.index(self._visited) + 1 if self._visited in needs else 0
        need = self._visited = needs[at % len(needs)]
        place = f"{at % len(needs) + 1} of {len(needs)}"
        if need.why == "budget":
            names = (limit.name for limit in limits(self._run.state.view, self._run.state.now))
            self._run.panes.show_limit(next((name for name in names if name.startswith("budget.")), ""))
            self._hint(f"{place}: the budget is used up  ·  B raises it, X cancels the run")
            return
        if need.why == "place":
            self._run.panes.show_limit(slots_name(need.step))
            self._hint(f"{place}: {out_of_reach(self._run.state.view, need.step, self._run.state.now)}")
            return
        self._run.panes.select(Selection(agent_of(need.task, need.step), need.task, need.step))
        what, then = {
            "asking": ("waits for an approval", "a answers"),
            "failed": ("failed", "R retries"),
            "silent": ("gives no output", "c cancels"),
        }[need.why]
        self._hint(f"{place}: {need.step} of task {need.task} {what}  ·  {then}, enter opens, w why")

    def why(self) -> None:
        """Say in one sentence why the selected step waits, was skipped, or failed."""
        if self._run.panes.lacks(step=True):
            return
        target = self._run.panes.target
        step = target.step_name
        task = target.task or step_task(self._run.state.view, step)
        sentence = LiveSentence(f"{step} of task {task}", partial(self._reason, task, step))
        ask(self._run.screen, sentence, lambda _: self.open(Selection(target.agent, task, step)))

    async def _reason(self, task: str, step: str) -> str:
        view, row = self._run.state.view, self._run.state.row
        if view.definition is None:
            return "the workflow has not been read yet"
        try:
            nested = await self._run.records.nested()
            if task in view.open or task in view.failed:
                found = explain(view, view.definition, task, step, self._run.state.now, nested)
            else:
                ended = await self._run.records.ended_view(task)
                assert ended.definition is not None
                found = explain(ended, ended.definition, task, step, ended.now, nested)
        except AgentdeckError as error:
            return str(error)
        if row is not None and row.state == "interrupted" and found.state in ("waiting", "ready", "running"):
            return f"{self._run.state.run} is interrupted: no process executes it; before that: {found.text}"
        return found.text

    def retry(self) -> None:
        """Offer what can be retried: what failed, or from a step on; an interrupted run can be resumed."""
        target = self._run.panes.target
        query = self._run.records.retry_options(target.task, target.agent, target.step)
        self._run.read(query, self._offer_retries, "retry")

    def _offer_retries(self, offer: RetryOffer) -> None:
        row, executed, found = offer
        interrupted = row.state == "interrupted"
        if not found:
            if interrupted:
                self.resume()
            else:
                self._run.warn("nothing to retry: nothing failed")
            return
        choices = [Choice("resume", "g", "Resume where it stopped", "no retry")] if interrupted else []
        choices += [
            Choice(str(at), str(at + 1), option.title, option.plan.summary) for at, option in enumerate(found)
        ]
        choices.append(Choice("", "n", "Do nothing"))
        where = "its process will do this" if executed else "a new process will do this"
        touches = [f"{where}; earlier attempts stay recorded"]

        db, run = self._run.state.db, self._run.state.run

        def answered(answer: str) -> None:
            if answer == "resume":
                self.resume()
                return
            option = found[int(answer)]
            retry = partial(self._start_engine, partial(engine_process.retry, db, run, option.arguments))
            if executed:
                self._run.send(option.plan.command, run_over=retry)
            else:
                retry()

        ask(self._run.screen, Confirm(f"Retry in {run}?", touches, choices), answered)

    def resume(self) -> None:
        """Go on with an interrupted run. Where files have changed since the launch, ask first."""
        from agentdeck.engine.source_hashes import changed_files

        row = self._run.state.row
        if row is None or row.state != "interrupted":
            self._run.warn("nothing to resume: the run is not interrupted")
        else:
            self._run.read(asyncio.to_thread(changed_files, row), self._resume, "resume")

    def _resume(self, changes: Mapping[str, str]) -> None:
        """Resume. `changes` are the differences between the files now and at the launch, by file."""
        resume = partial(engine_process.resume, self._run.state.db, self._run.state.run)
        if not changes:
            self._start_engine(resume)
            return
        touches = [
            *changes.values(),
            "since the launch; recorded results stay valid",
            "your decision is recorded",
        ]
        title = f"Resume {self._run.state.run} with the changed files?"
        question = Confirm(title, touches, yes_or_no("Resume with the changes"))
        ask(self._run.screen, question, lambda _: self._start_engine(partial(resume, accept=True)))

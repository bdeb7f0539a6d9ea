"""What an operator does with what was recorded of a run: open a step, ask why it waits, retry or resume."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from textual.screen import Screen

from agentdeck.console.log.lines import agent_of
from agentdeck.console.pane import Selection
from agentdeck.console.run_records import RunRecords
from agentdeck.console.run_state import RunState
from agentdeck.console.screens.dialogs import Choice, Confirm, yes_or_no
from agentdeck.console.screens.pane_layout import PaneLayout
from agentdeck.console.screens.run_actions import SendCommand
from agentdeck.errors import AgentdeckError
from agentdeck.insight.attention import AttentionItem, attention_items
from agentdeck.insight.limits import limits
from agentdeck.insight.why import explain
from agentdeck.operations import engine_process
from agentdeck.operations.engine_process import EngineProcess
from agentdeck.operations.explain import step_task
from agentdeck.store.async_reader import AsyncReader
from agentdeck.store.run_list import RunRow

if TYPE_CHECKING:
    from agentdeck.operations.retry import RetryOption

#: Starts an engine process that goes on with the run.
StartEngine: TypeAlias = Callable[[Callable[[], EngineProcess]], None]


class HistoryActions:
    """The actions of a run screen that read the store. `hint` shows a sentence for a while."""

    def __init__(
        self,
        screen: Screen[None],
        state: RunState,
        panes: PaneLayout,
        records: RunRecords,
        send: SendCommand,
        start_engine: StartEngine,
        hint: Callable[[str], None],
    ) -> None:
        self._screen = screen
        self._state = state
        self._panes = panes
        self._records = records
        self._send = send
        self._start_engine = start_engine
        self._hint = hint
        self._visited: AttentionItem | None = None

    def _warn(self, text: str) -> None:
        self._screen.notify(text, severity="warning", markup=False)

    # One step -----------------------------------------------------------------------------------------------

    def open(self, selection: Selection) -> None:
        """Show more of what was opened: the story of a step (of an agent, that of its most telling step), the
        timeline of a task, the log of an agent of a sub-workflow."""
        step, task = selection.step_name, selection.task
        if not task and step and "/" not in selection.agent:
            task = step_task(self._state.view, step)
        if task and step:
            from agentdeck.console.step_detail import StepDetail

            self._screen.app.push_screen(StepDetail(partial(self._records.story, task, step)))
        else:
            self._panes.show("timeline" if task else "log")

    def next_need(self) -> None:
        """Select the next step that needs attention, in all panes."""
        needs = list(attention_items(self._state.view, self._state.now, self._state.last_output))
        if not needs:
            self._screen.notify("nobody needs a person", markup=False)
            return
        at = needs.index(self._visited) + 1 if self._visited in needs else 0
        need = self._visited = needs[at % len(needs)]
        place = f"{at % len(needs) + 1} of {len(needs)}"
        if need.why == "budget":
            names = (limit.name for limit in limits(self._state.view, self._state.now))
            self._panes.show_limit(next((name for name in names if name.startswith("budget.")), ""))
            self._hint(f"{place}: the budget is used up  ·  B grants more, X cancels the run")
            return
        self._panes.select(Selection(agent_of(need.task, need.step), need.task, need.step))
        what, then = {
            "asking": ("asks", "a answers"),
            "failed": ("failed", "R retries"),
            "silent": ("is silent", "c cancels"),
        }[need.why]
        self._hint(f"{place}: {need.step} of task {need.task} {what}  ·  {then}, enter opens, w why")

    def why(self) -> None:
        """Say in one sentence why the selected step waits, was skipped, or failed."""
        if self._panes.lacks(step=True):
            return
        from agentdeck.console.screens.dialogs import LiveSentence

        target = self._panes.target
        step = target.step_name
        task = target.task or step_task(self._state.view, step)

        def answered(more: bool | None) -> None:
            if more:
                self.open(Selection(target.agent, task, step))

        say = partial(self._reason, task, step)
        self._screen.app.push_screen(LiveSentence(f"{step} of task {task}", say), answered)

    async def _reason(self, task: str, step: str) -> str:
        view, row = self._state.view, self._state.row
        if view.definition is None:
            return "not known yet"
        try:
            if task in view.open or task in view.failed:
                found = explain(view, view.definition, task, step, self._state.now)
            else:
                ended = await self._records.ended_view(task)
                assert ended.definition is not None
                found = explain(ended, ended.definition, task, step, ended.now)
        except AgentdeckError as error:
            return str(error)
        if row is not None and row.state == "interrupted" and found.state in ("waiting", "ready", "running"):
            return f"nobody runs {self._state.run} (interrupted); when that was: {found.text}"
        return found.text

    # Retry and resume ---------------------------------------------------------------------------------------

    def retry(self) -> None:
        """Offer what can be retried: what failed, or from a step on; an interrupted run can be resumed."""
        find = self._find_retries(self._panes.target)
        self._screen.app.run_worker(find, name="retry", group="retry", exclusive=True)

    async def _find_retries(self, selection: Selection) -> None:
        """Read what can be retried, and offer it."""
        from agentdeck.operations.retry import retry_options

        try:
            async with AsyncReader(self._state.db) as store:
                row, found = await store.read(
                    retry_options, self._state.run, selection.task, selection.agent, selection.step
                )
        except AgentdeckError as error:
            self._screen.notify(str(error), severity="error", markup=False)
            return
        self._offer_retries(row, found)

    def _offer_retries(self, row: RunRow, found: list[RetryOption]) -> None:
        interrupted = row.state == "interrupted"
        if not found:
            if interrupted:
                self.resume()
            else:
                self._warn("nothing of that can go again: nothing failed")
            return
        choices = [Choice("resume", "g", "Go on where it was", "nothing again")] if interrupted else []
        choices += [
            Choice(str(at), str(at + 1), option.title, option.plan.summary) for at, option in enumerate(found)
        ]
        choices.append(Choice("", "n", "Nothing, leave it"))
        alive = row.state in ("running", "paused")
        where = "the process that runs it does this" if alive else "a process of its own does this"
        touches = [f"{where}; earlier attempts stay in the history"]

        def answered(answer: str | None) -> None:
            if answer == "resume":
                self.resume()
            elif answer:
                self._retry(row, found[int(answer)])

        self._screen.app.push_screen(Confirm(f"Again in {self._state.run}?", touches, choices), answered)

    def _retry(self, row: RunRow, option: RetryOption) -> None:
        if row.state in ("running", "paused"):
            self._send(option.plan.command)
        else:
            self._start_engine(lambda: engine_process.retry(self._state.db, self._state.run, option.arguments))

    def resume(self) -> None:
        """Go on with an interrupted run. Where files have changed since the launch, ask first."""
        row = self._state.row
        if row is None or row.state != "interrupted":
            self._warn("nothing to resume: it is not interrupted")
        else:
            compare = self._compare_files(row)
            self._screen.app.run_worker(compare, name="changed files", group="resume", exclusive=True)

    async def _compare_files(self, row: RunRow) -> None:
        """Find which files differ from the launch, then resume or ask."""
        from agentdeck.engine.source_hashes import changed_files

        changes = await asyncio.to_thread(changed_files, row)
        self._resume(list(changes.values()))

    def _resume(self, changes: list[str]) -> None:
        db, run = self._state.db, self._state.run
        if not changes:
            self._start_engine(lambda: engine_process.resume(db, run))
            return

        def answered(answer: str | None) -> None:
            if answer:
                self._start_engine(lambda: engine_process.resume(db, run, accept=True))

        touches = [
            *changes,
            "since the launch; what ran already keeps its result",
            "that you accept it is recorded",
        ]
        title = f"Resume {run} with what is there now?"
        self._screen.app.push_screen(Confirm(title, touches, yes_or_no("Resume with the changes")), answered)

"""What was recorded of a run: told in a sentence or as a story, and let go again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from agentdeck.console.log.lines import agent_of
from agentdeck.console.pane import Selection
from agentdeck.console.screens.confirm import Choice, Confirm, yes_or_no
from agentdeck.console.screens.run_actions import Verbs
from agentdeck.errors import AgentdeckError
from agentdeck.insight.attention import AttentionItem, attention_items
from agentdeck.insight.why import Explanation, explain
from agentdeck.operations import engine_process
from agentdeck.operations.engine_process import EngineProcess
from agentdeck.operations.explain import step_task, task_view
from agentdeck.scheduler.events import Event
from agentdeck.store.reader import Reader
from agentdeck.store.run_list import RunRow
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import restored

if TYPE_CHECKING:
    from agentdeck.console.retry_actions import Way
    from agentdeck.insight.step import StepStory

MOST_RECORDED = 200_000  # events of which the timeline is drawn


class Recall(Verbs):
    """The part of the run screen that reads the store beside the feed: in a thread, or for a moment."""

    _visited: AttentionItem | None = None
    _recalled: tuple[str, RunView] | None = None

    def hint(self, text: str) -> None:
        """Say it for a while."""
        raise NotImplementedError

    def to_budget(self) -> None:
        """Show the budget among the limits."""
        raise NotImplementedError

    def take_up(self, engine: Callable[[], EngineProcess]) -> None:
        """Start a process that goes on with this run."""
        raise NotImplementedError

    # A step, whole --------------------------------------------------------------------------------------

    def open(self, selection: Selection) -> None:
        """What was chosen: a step tells its story, an agent that of the step that says most of it now, a task
        shows when what of it ran. One below another workflow shows its log."""
        step = selection.step or selection.agent.rpartition("/")[2]
        task = selection.task
        if not task and step and "/" not in selection.agent:
            task = step_task(self.view, step)
        if task and step:
            from agentdeck.console.step_detail import StepDetail

            self.app.push_screen(StepDetail(partial(self.story, task, step)))
        else:
            self.go("timeline" if task else "log")

    def story(self, task: str, step: str) -> StepStory:
        """Called in a thread."""
        from agentdeck.insight.step import recorded_story

        reader = Reader(self.db)
        try:
            return recorded_story(reader, self.run, task, step)
        finally:
            reader.close()

    def recorded(self, task: str) -> list[tuple[int, Event]]:
        """What the store has of a task, of the whole run for an empty name. Called in a thread."""
        reader = Reader(self.db)
        try:
            events = reader.events(self.run, limit=MOST_RECORDED)
            return [(seq, e) for seq, e in events if not task or getattr(e, "task", "") == task]
        finally:
            reader.close()

    # Who needs a person -------------------------------------------------------------------------------------

    def action_next(self) -> None:
        """Select the next step that needs a person, everywhere."""
        needs = list(attention_items(self.view, self.now, self.heard))
        if not needs:
            self.notify("nobody needs a person", markup=False)
            return
        at = needs.index(self._visited) + 1 if self._visited in needs else 0
        need = self._visited = needs[at % len(needs)]
        if need.why == "budget":
            self.to_budget()
            place = f"{at % len(needs) + 1} of {len(needs)}"
            self.hint(f"{place}: the budget is used up  ·  B grants more, X cancels the run")
            return
        self.select(Selection(agent_of(need.task, need.step), need.task, need.step))
        what, then = {
            "asking": ("asks", "a answers"),
            "failed": ("failed", "R retries"),
            "silent": ("is silent", "c cancels"),
        }[need.why]
        place = f"{at % len(needs) + 1} of {len(needs)}"
        self.hint(f"{place}: {need.step} of task {need.task} {what}  ·  {then}, enter opens, w why")

    def action_why(self) -> None:
        """One sentence on the selected step: why it waits, was skipped, or failed."""
        if self._lacks(task=False, step=True):
            return
        from agentdeck.console.screens.live_sentence import Sentence

        step, agent = self.step, self.target.agent
        task = self.target.task or step_task(self.view, step)

        def answered(more: bool | None) -> None:
            if more:
                self.open(Selection(agent, task, step))

        say = partial(self._why, task, step)
        self.app.push_screen(Sentence(f"{step} of task {task}", say), answered)

    def _why(self, task: str, step: str) -> str:
        view, definition = self.view, self.view.definition
        if definition is None:
            return "not known yet"
        row = self.feed.row
        try:
            if task in view.open or task in view.failed:
                found = explain(view, definition, task, step, self.now)
            else:
                found = self._ended_why(task, step)
        except AgentdeckError as error:
            return str(error)
        if row is not None and row.state == "interrupted" and found.state in ("waiting", "ready", "running"):
            return f"nobody runs {self.run} (interrupted); when that was: {found.text}"
        return found.text

    def _ended_why(self, task: str, step: str) -> Explanation:
        """Of a task that ended long ago, from its own events alone."""
        if self._recalled is None or self._recalled[0] != task:
            reader = Reader(self.db)
            try:
                row = reader.run(self.run)
                definition = restored(reader.definition(row.identity))
                self._recalled = task, task_view(reader, row, definition, task)
            finally:
                reader.close()
        view = self._recalled[1]
        assert view.definition is not None
        return explain(view, view.definition, task, step, view.now)

    # Again --------------------------------------------------------------------------------------------------

    def action_retry(self) -> None:
        """What failed, or from here on; an interrupted run goes on."""
        self.app.run_worker(partial(self._look_back, self.target), thread=True, name="again", exclusive=True)

    def _look_back(self, selection: Selection) -> None:
        """In a thread: what can go again."""
        from agentdeck.console.retry_actions import ways

        try:
            row, found = ways(self.db, self.run, selection)
        except AgentdeckError as error:
            self.app.call_from_thread(self.notify, str(error), severity="error", markup=False)
            return
        self.app.call_from_thread(self._offer, row, found)

    def _offer(self, row: RunRow, found: list[Way]) -> None:
        interrupted = row.state == "interrupted"
        if not found:
            if interrupted:
                self.action_resume()
            else:
                self.notify("nothing of that can go again: nothing failed", severity="warning", markup=False)
            return
        choices = [Choice("resume", "g", "Go on where it was", "nothing again")] if interrupted else []
        choices += [Choice(str(at), str(at + 1), way.title, way.told) for at, way in enumerate(found)]
        choices.append(Choice("", "n", "Nothing, leave it"))
        alive = row.state in ("running", "paused")
        where = "the process that runs it does this" if alive else "a process of its own does this"
        touches = [f"{where}; earlier attempts stay in the history"]

        def answered(answer: str | None) -> None:
            if answer == "resume":
                self.action_resume()
            elif answer:
                self._again(row, found[int(answer)])

        self.app.push_screen(Confirm(f"Again in {self.run}?", touches, choices), answered)

    def _again(self, row: RunRow, way: Way) -> None:
        if row.state in ("running", "paused"):
            self.ask("retry", way.plan.request)
        else:
            self.take_up(lambda: engine_process.retry(self.db, self.run, way.arguments))

    def action_resume(self) -> None:
        row = self.feed.row
        if row is None or row.state != "interrupted":
            self.notify("nothing to resume: it is not interrupted", severity="warning", markup=False)
        else:
            compare = partial(self._compare, row)
            self.app.run_worker(compare, thread=True, name="changed files", exclusive=True)

    def _compare(self, row: RunRow) -> None:
        """In a thread: which files differ from the launch, then resume or ask."""
        from agentdeck.engine.source_hashes import changed_files

        self.app.call_from_thread(self._resume, list(changed_files(row).values()))

    def _resume(self, changes: list[str]) -> None:
        if not changes:
            self.take_up(lambda: engine_process.resume(self.db, self.run))
            return

        def answered(answer: str | None) -> None:
            if answer:
                self.take_up(lambda: engine_process.resume(self.db, self.run, accept=True))

        touches = [
            *changes,
            "since the launch; what ran already keeps its result",
            "that you accept it is recorded",
        ]
        title = f"Resume {self.run} with what is there now?"
        self.app.push_screen(Confirm(title, touches, yes_or_no("Resume with the changes")), answered)

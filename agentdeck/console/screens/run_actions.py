"""What an operator does to a run: each action says what it touches, and asks first where something is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from textual.screen import Screen

from agentdeck.console.forecast_worker import Forecasts
from agentdeck.console.panes.limits import shown
from agentdeck.console.run_records import RunRecords
from agentdeck.console.run_state import RunState
from agentdeck.console.screens.dialogs import Confirm, TextDialog, ask, yes_or_no
from agentdeck.console.screens.pane_layout import PaneLayout
from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.insight.attention import attention_items
from agentdeck.insight.formatting import plural, seconds
from agentdeck.insight.limits import limits
from agentdeck.operations import commands
from agentdeck.operations.commands import RunCommand
from agentdeck.store.command_client import CommandAnswer
from agentdeck.workflow.model import Data

if TYPE_CHECKING:
    from agentdeck.operations.questions import StepQuestion

T = TypeVar("T")


class SendCommand(Protocol):
    """Sends a command to the process that executes the run. Returns at once; the answer is shown as a toast, and
    `then` is called with it. Where the run ends before, `run_over` is called instead, if it is given."""

    def __call__(
        self,
        command: RunCommand,
        then: Callable[[CommandAnswer], None] | None = None,
        *,
        run_over: Callable[[], None] | None = None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class RunContext:
    """`screen` shows the questions of the actions, `panes` say what they act on, `records` read the store, `send`
    sends what the run's owner carries out."""

    screen: Screen[None]
    state: RunState
    panes: PaneLayout
    records: RunRecords
    send: SendCommand

    def warn(self, text: str) -> None:
        self.screen.notify(text, severity="warning")

    def read(self, query: Awaitable[T], then: Callable[[T], object], name: str) -> None:
        """Call `then` with what was read. A read replaces one of the same name; a fault of the store is shown."""

        async def work() -> None:
            try:
                found = await query
            except AgentdeckError as error:
                self.screen.notify(str(error), severity="error")
            else:
                then(found)

        self.screen.app.run_worker(work(), name=name, group=name, exclusive=True)


def _amount_fault(text: str) -> str:
    """Why this text is no amount; empty where it is one."""
    try:
        commands.budget_from(text)
    except UsageError as error:
        return str(error)
    return ""


class RunActions:
    """The actions of a run screen that the run's owner carries out."""

    def __init__(self, run: RunContext, forecasts: Forecasts) -> None:
        self._run = run
        self._forecasts = forecasts

    def _confirm(self, title: str, touches: Sequence[str], yes: str, command: RunCommand) -> None:
        """Send a command if the operator confirms what it touches."""
        header = self._run.panes.header
        if header.reading is not None:
            touches = [f"{header.reading_text}: the run has not been read yet, so the effect is unknown"]
        ask(self._run.screen, Confirm(title, touches, yes_or_no(yes)), lambda _: self._run.send(command))

    # The run ------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        row = self._run.state.row
        paused = self._run.state.view.state == "paused" or (row is not None and row.state == "paused")
        self._run.send(commands.unpause() if paused else commands.pause())

    def drain(self) -> None:
        touches = [
            f"{plural(len(self._run.state.view.running), 'running step')} will finish, no new steps start",
            "the rest waits until the run is resumed",
        ]
        self._confirm(f"Drain {self._run.state.run}?", touches, "Drain", commands.drain())

    def cancel_run(self) -> None:
        view = self._run.state.view
        total = view.tasks.total if view.tasks.total is not None else self._run.panes.header.total
        left = plural(max(0, (total or view.tasks.opened) - view.tasks.ended), "task")
        touches = [
            f"{plural(len(view.running), 'running step')} will be stopped",
            f"{left} will not be executed" + ("" if total else ", and those not read yet"),
            "a cancelled run cannot be resumed",
        ]
        self._confirm(f"Cancel {self._run.state.run}?", touches, "Cancel the run", commands.cancel())

    def scale_workers(self, factor: float) -> None:
        now = self._run.state.view.workers
        if now is not None:
            wanted = round(now * factor)
            changed = max(1, wanted if wanted != now else now + (1 if factor > 1 else -1))
            self._run.send(commands.set_limits({"workers": changed}))

    # Limits and the budget ----------------------------------------------------------------------------------

    def change_limit(self, name: str, value: Data) -> None:
        """Set a limit. The limits pane shows why where the owner refuses."""
        measure = name.removeprefix("budget.")
        is_budget = measure != name
        command = commands.set_budget(measure, value) if is_budget else commands.set_limits({name: value})

        def answered(answer: CommandAnswer) -> None:
            if not answer.ok:
                self._run.panes.limits.refused(name, answer.text)

        self._forecasts.clear()
        self._run.send(command, answered)

    def ask_budget(self, text: str = "", refused: str = "") -> None:
        """Ask how much more the run may spend. `refused`: why the run's owner did not accept this text."""
        view = self._run.state.view
        about = [
            f"{one.name.removeprefix('budget.')}: {shown(one, one.value)}"
            + (f", {shown(one, one.use)} used" if one.use is not None else "")
            for one in limits(view, view.now)
            if one.name.startswith("budget.")
        ]
        about.append("+0.40 adds 40 cents, 2.50 sets the whole budget, +100k tokens adds tokens")
        question = TextDialog("Budget", "\n".join(about), text, "+0.40", _amount_fault, refused)
        ask(self._run.screen, question, self.grant)

    def grant(self, text: str) -> None:
        """Grant an amount as it is typed. Where it is refused, the question comes again with the text in it."""
        if fault := _amount_fault(text):
            self.ask_budget(text, fault)
            return

        def answered(answer: CommandAnswer) -> None:
            if not answer.ok and self._run.screen.is_active:
                self.ask_budget(text, answer.text)

        self._run.send(commands.budget_from(text), answered)

    # The target ---------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel the highlighted item: a step, a task, or an agent's steps."""
        target = self._run.panes.target
        task, step = target.task, target.step_name
        if task and step:
            touches = [
                f"step {step} of task {task}, and the steps that need it",
                *self._running_attempt(task, step),
            ]
            self._confirm(f"Cancel {step}?", touches, "Cancel the step", commands.cancel(task, step))
        elif task:
            running = [name for name, _ in self._run.state.view.running if f"{name}/".startswith(f"{task}/")]
            touches = [f"task {task}", f"{plural(len(running), 'running step')} will be stopped"]
            self._confirm(f"Cancel task {task}?", touches, "Cancel the task", commands.cancel(task))
        elif step:
            self._cancel_agent(target.agent, step)
        else:
            self._run.warn("select a task, an agent or a step first; X cancels the run")

    def _cancel_agent(self, agent: str, step: str) -> None:
        totals = self._run.state.view.agents.get(agent)
        counts = totals.steps if totals else {}
        waiting = counts.get("ready", 0) + counts.get("waiting", 0)
        touches = [
            f"{plural(counts.get('running', 0), 'step')} of {step} will be stopped",
            f"{plural(waiting, 'step')} of open tasks will not start",
            "steps that need them fail",
        ]
        self._confirm(f"Cancel {step} in every open task?", touches, "Cancel them", commands.cancel(step=step))

    def skip(self) -> None:
        if self._run.panes.lacks(task=True, step=True):
            return
        task, step = self._run.panes.target.task, self._run.panes.target.step_name
        touches = [f"task {task} continues without {step}", *self._running_attempt(task, step)]
        definition = self._run.state.view.definition
        needing = [n for n, a in definition.agents.items() if step in a.needs] if definition else []
        if needing and "/" not in task:
            touches.append(f"{', '.join(needing)} will no longer wait for it")
        self._confirm(f"Skip {step}?", touches, "Skip the step", commands.skip(step, task))

    def _running_attempt(self, task: str, step: str) -> list[str]:
        """A line on the attempt of this step that would be lost; empty where none runs."""
        started = self._run.state.view.running.get((task, step))
        if started is None:
            return []
        return [f"attempt {started.attempt} has been running for {seconds(self._run.state.now - started.at)}"]

    def hold(self) -> None:
        """Let an agent start nothing more; where it is held, give it back its `max_parallel`."""
        if self._run.panes.lacks(step=True):
            return
        target, view = self._run.panes.target, self._run.state.view
        agent = target.agent or target.step_name.partition("[")[0]
        name = f"agents.{agent}.max_parallel"
        definition = view.definition
        if definition is None or agent not in definition.agents:
            self._run.warn(f"{agent} belongs to a sub-workflow; only agents of {view.workflow} can be held")
            return
        now = view.limits.get(name, definition.agents[agent].max_parallel)
        value: int | None = 0
        if now == 0:
            before = (m.text for m in reversed(view.timeline) if m.kind == "limit")
            held = next((text for text in before if text.startswith(f"{name}: ") and "-> 0" in text), "")
            was = held.removeprefix(f"{name}: ").partition(" -> ")[0]
            value = int(was) if was.isdecimal() else None
        self._run.send(commands.set_limits({name: value}))

    def hurry(self) -> None:
        if not self._run.panes.lacks(task=True):
            self._run.send(commands.hurry(self._run.panes.target.task.partition("/")[0]))

    def release(self) -> None:
        if self._run.panes.lacks(step=True):
            return
        step = self._run.panes.target.step_name
        task, definition = self._task_of(step), self._run.state.view.definition
        touches = [f"{step}{f' of task {task}' if task else ''} starts with what has arrived"]
        if task and definition is not None and step in definition.agents:
            needs = definition.agents[step].needs
            open_ = self._run.state.view.open.get(task)
            there = [n for n in needs if open_ and (s := open_.steps.get(n)) is not None and s.state == "done"]
            lacks = [n for n in needs if n not in there]
            touches.append(f"{len(there)} of {len(needs)} arrived; without: {', '.join(lacks) or 'nothing'}")
        self._confirm(f"Release {step}?", touches, "Release", commands.release(step, task))

    def _task_of(self, step: str) -> str:
        """The selected task, else the oldest open one where this step still waits; empty where there is none."""
        if self._run.panes.target.task:
            return self._run.panes.target.task
        for task in self._run.state.view.open.values():
            found = task.steps.get(step)
            if found is None or found.state == "waiting":
                return task.id
        return ""

    # Approvals ----------------------------------------------------------------------------------------------

    def answer(self) -> None:
        """Show the form of the selected approval step, else of the first one that is asking."""
        step, task = self._asking()
        if step:
            question = self._run.records.question(task, step)
            self._run.read(question, partial(self._show_question, task, step), "question")
        else:
            self._run.warn("no question is open")

    def _show_question(self, task: str, step: str, question: StepQuestion | None) -> None:
        from agentdeck.console.screens.answer import AnswerForm

        if question is None:
            command = f"agentdeck approve {self._run.state.run} {step} yes|no --task {task}"
            self._run.warn(f"its question is not recorded; answer with: {command}")
        elif self._run.screen.is_active:
            form = AnswerForm(task, step, question, self._run.records.story(task, step))
            answer = partial(commands.answer, step, task)
            ask(self._run.screen, form, lambda given: self._run.send(answer(given.approved, given.fields)))

    def _asking(self) -> tuple[str, str]:
        """The step that asks, and its task: the selected one, else the first; empty where no step asks."""
        state, target = self._run.state, self._run.panes.target
        asking = [need for need in attention_items(state.view, state.now) if need.why == "asking"]
        task, step = target.task, target.step_name
        for need in asking:
            if task in ("", need.task) and step in ("", need.step, need.step.partition("[")[0]):
                return need.step, need.task
        below = (f"{task}/{step}/", f"{task}/{step}[") if step else (f"{task}/",)
        for need in asking:
            if task and f"{need.task}/".startswith(below):
                return need.step, need.task
        return (asking[0].step, asking[0].task) if asking else ("", "")

"""What an operator does to a run: each action says what it touches, and asks first where something is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from textual.screen import Screen

from agentdeck.console.forecast_worker import Forecasts
from agentdeck.console.panes.limits import shown
from agentdeck.console.run_records import RunRecords
from agentdeck.console.run_state import RunState
from agentdeck.console.screens.dialogs import Confirm, TextDialog, yes_or_no
from agentdeck.console.screens.pane_layout import PaneLayout
from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.insight.attention import attention_items
from agentdeck.insight.formatting import plural, seconds
from agentdeck.insight.limits import limits
from agentdeck.operations import commands
from agentdeck.operations.commands import RunCommand
from agentdeck.store.command_client import CommandAnswer
from agentdeck.workflow.model import Approve, Data


class SendCommand(Protocol):
    """Sends a command to the process that executes the run. Returns at once; the answer is shown as a toast, and
    `then` is called with it."""

    def __call__(
        self,
        command: RunCommand,
        then: Callable[[CommandAnswer], None] | None = None,
    ) -> None: ...


def _amount_fault(text: str) -> str:
    """Why this text is no amount; empty where it is one."""
    try:
        commands.budget_from(text)
    except UsageError as error:
        return str(error)
    return ""


class RunActions:
    """The actions of a run screen that the run's owner carries out. `screen` shows their questions, `panes` say
    what they act on."""

    def __init__(
        self,
        screen: Screen[None],
        state: RunState,
        panes: PaneLayout,
        records: RunRecords,
        forecasts: Forecasts,
        send: SendCommand,
    ) -> None:
        self._screen = screen
        self._state = state
        self._panes = panes
        self._records = records
        self._forecasts = forecasts
        self._send = send

    def _confirm(self, title: str, touches: Sequence[str], yes: str, command: RunCommand) -> None:
        """Send a command if the operator confirms what it touches."""

        def answered(answer: str | None) -> None:
            if answer:
                self._send(command)

        header = self._panes.header
        if header.reading is not None:
            touches = [f"{header.reading_text}: what it touches is not known yet"]
        self._screen.app.push_screen(Confirm(title, touches, yes_or_no(yes)), answered)

    # The run ------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        row = self._state.row
        paused = self._state.view.state == "paused" or (row is not None and row.state == "paused")
        self._send(commands.unpause() if paused else commands.pause())

    def drain(self) -> None:
        touches = [
            f"{plural(len(self._state.view.running), 'running step')} will finish, nothing new starts",
            "the rest waits for whoever resumes it",
        ]
        self._confirm(f"Drain {self._state.run}?", touches, "Drain", commands.drain())

    def cancel_run(self) -> None:
        view = self._state.view
        total = view.tasks.total if view.tasks.total is not None else self._panes.header.total
        left = plural(max(0, (total or view.tasks.opened) - view.tasks.ended), "task")
        touches = [
            f"{plural(len(view.running), 'running step')} will be stopped",
            f"{left} will not be done" + ("" if total else ", and those that were not read yet"),
            "a cancelled run cannot be resumed",
        ]
        self._confirm(f"Cancel {self._state.run}?", touches, "Cancel the run", commands.cancel())

    def more_workers(self) -> None:
        self._scale_workers(1.25)

    def fewer_workers(self) -> None:
        self._scale_workers(0.8)

    def _scale_workers(self, factor: float) -> None:
        now = self._state.view.workers
        if now is not None:
            wanted = round(now * factor)
            changed = max(1, wanted if wanted != now else now + (1 if factor > 1 else -1))
            self._send(commands.set_limits({"workers": changed}))

    # Limits and the budget ----------------------------------------------------------------------------------

    def change_limit(self, name: str, value: Data) -> None:
        """Set a limit. The limits pane shows why where the owner refuses."""
        measure = name.removeprefix("budget.")
        if measure != name:
            command = commands.set_budget(measure, value)
        else:
            command = commands.set_limits({name: value})

        def answered(answer: CommandAnswer) -> None:
            if not answer.ok:
                self._panes.limits.refused(name, answer.text)

        self._forecasts.clear()
        self._send(command, answered)

    def budget(self) -> None:
        """Ask how much more the run may spend."""
        self._ask_budget()

    def _ask_budget(self, text: str = "", refused: str = "") -> None:
        """`refused`: why the owner of the run did not accept this text."""
        view = self._state.view
        now = {one.name: one for one in limits(view, view.now) if one.name.startswith("budget.")}
        about = [
            f"{name.removeprefix('budget.')}: {shown(one, one.value)}"
            + (f", {shown(one, one.use)} used" if one.use is not None else "")
            for name, one in now.items()
        ]
        about.append("+0.40 grants 40 cents more, 2.50 is the whole of it from now on, +100k tokens is in tokens")

        def answered(text: str | None) -> None:
            if text:
                self.grant(text)

        question = TextDialog("Budget", "\n".join(about), text, "+0.40", _amount_fault, refused)
        self._screen.app.push_screen(question, answered)

    def grant(self, text: str) -> None:
        """Grant an amount as it is typed. Where it is refused, the question comes again with the text in it."""
        if fault := _amount_fault(text):
            self._ask_budget(text, fault)
            return

        def answered(answer: CommandAnswer) -> None:
            if not answer.ok and self._screen.is_active:
                self._ask_budget(text, answer.text)

        self._send(commands.budget_from(text), answered)

    # The target ---------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel the highlighted item: a step, a task, or an agent's steps."""
        target = self._panes.target
        if target.task and target.step_name:
            self._cancel_step(target.task, target.step_name)
        elif target.task:
            self._cancel_task(target.task)
        elif target.step_name:
            self._cancel_agent(target.agent, target.step_name)
        else:
            told = "select a task, an agent or a step first; X cancels the run"
            self._screen.notify(told, severity="warning")

    def _cancel_step(self, task: str, step: str) -> None:
        touches = [f"step {step} of task {task}, and what needs it", *self._running_attempt(task, step)]
        self._confirm(f"Cancel {step}?", touches, "Cancel the step", commands.cancel(task, step))

    def _cancel_task(self, task: str) -> None:
        running = [step for one, step in self._state.view.running if f"{one}/".startswith(f"{task}/")]
        touches = [f"task {task}", f"{plural(len(running), 'running step')} will be stopped"]
        self._confirm(f"Cancel task {task}?", touches, "Cancel the task", commands.cancel(task))

    def _cancel_agent(self, agent: str, step: str) -> None:
        tally = self._state.view.agents.get(agent)
        counts = tally.steps if tally else {}
        waiting = counts.get("ready", 0) + counts.get("waiting", 0)
        touches = [
            f"{plural(counts.get('running', 0), 'step')} of {step} will be stopped",
            f"{plural(waiting, 'step')} of open tasks will not start",
            "what needs them fails",
        ]
        self._confirm(f"Cancel {step} in every open task?", touches, "Cancel them", commands.cancel(step=step))

    def skip(self) -> None:
        if self._panes.lacks(task=True, step=True):
            return
        task, step = self._panes.target.task, self._panes.target.step_name
        touches = [f"task {task} goes on without {step}", *self._running_attempt(task, step)]
        definition = self._state.view.definition
        needing = [n for n, a in definition.agents.items() if step in a.needs] if definition else []
        if needing and "/" not in task:
            touches.append(f"{', '.join(needing)} will not wait for it any more")
        self._confirm(f"Skip {step}?", touches, "Skip the step", commands.skip(step, task))

    def _running_attempt(self, task: str, step: str) -> list[str]:
        """A line on the attempt of this step that would be lost; empty where none runs."""
        started = self._state.view.running.get((task, step))
        if started is None:
            return []
        return [f"attempt {started.attempt} has run for {seconds(self._state.now - started.at)}"]

    def hold(self) -> None:
        """Let an agent start nothing more; where it is held, give it back its `max_parallel`."""
        if self._panes.lacks(step=True):
            return
        target, view = self._panes.target, self._state.view
        agent = target.agent or target.step_name.partition("[")[0]
        name = f"agents.{agent}.max_parallel"
        definition = view.definition
        if definition is None or agent not in definition.agents:
            self._screen.notify(
                f"{agent} is not an agent of {view.workflow} itself", severity="warning", markup=False
            )
            return
        now = view.limits.get(name, definition.agents[agent].max_parallel)
        if now == 0:
            before = (m.text for m in reversed(view.timeline) if m.kind == "limit")
            held = next((text for text in before if text.startswith(f"{name}: ") and "-> 0" in text), "")
            was = held.removeprefix(f"{name}: ").partition(" -> ")[0]
            self._send(commands.set_limits({name: int(was) if was.isdecimal() else None}))
        else:
            self._send(commands.set_limits({name: 0}))

    def hurry(self) -> None:
        if not self._panes.lacks(task=True):
            self._send(commands.hurry(self._panes.target.task.partition("/")[0]))

    def release(self) -> None:
        if self._panes.lacks(step=True):
            return
        step = self._panes.target.step_name
        task, definition = self._task_of(step), self._state.view.definition
        touches = [f"{step}{f' of task {task}' if task else ''} goes with what has arrived"]
        if task and definition is not None and step in definition.agents:
            needs = definition.agents[step].needs
            open_ = self._state.view.open.get(task)
            there = [n for n in needs if open_ and (s := open_.steps.get(n)) is not None and s.state == "done"]
            lacks = [n for n in needs if n not in there]
            touches.append(f"{len(there)} of {len(needs)} arrived; without: {', '.join(lacks) or 'nothing'}")
        self._confirm(f"Release {step}?", touches, "Let it go", commands.release(step, task))

    def _task_of(self, step: str) -> str:
        """The selected task, else the oldest open one where this step still waits; empty where there is none."""
        if self._panes.target.task:
            return self._panes.target.task
        for task in self._state.view.open.values():
            found = task.steps.get(step)
            if found is None or found.state == "waiting":
                return task.id
        return ""

    # Approvals ----------------------------------------------------------------------------------------------

    def answer(self) -> None:
        """Show the form of the selected approval step, else of the first one that is asking."""
        step, task = self._asking()
        if step:
            look = self._read_approval(task, step)
            self._screen.app.run_worker(look, name="approval", group="approval", exclusive=True)
        else:
            self._screen.notify("no step asks anything here", severity="warning", markup=False)

    async def _read_approval(self, task: str, step: str) -> None:
        """Read what the step asks, and show it."""
        try:
            does = await self._records.approval(task, step)
        except AgentdeckError as error:
            self._screen.notify(str(error), severity="error", markup=False)
            return
        if does is None:
            run = self._state.run
            told = f"what it asks is not recorded; agentdeck approve {run} {step} yes|no --task {task}"
            self._screen.notify(told, severity="warning", markup=False)
        else:
            self._show_approval(task, step, does)

    def _show_approval(self, task: str, step: str, does: Approve) -> None:
        from agentdeck.console.screens.answer import ApprovalAnswer, ApprovalForm

        if not self._screen.is_active:
            return

        def answered(given: ApprovalAnswer | None) -> None:
            if given is not None:
                self._send(commands.answer(step, task, given.approved, given.fields))

        story = partial(self._records.story, task, step)
        self._screen.app.push_screen(ApprovalForm(task, step, does, story), answered)

    def _asking(self) -> tuple[str, str]:
        """The step that asks, and its task: the selected one, else the first; empty where no step asks."""
        asking = [need for need in attention_items(self._state.view, self._state.now) if need.why == "asking"]
        target = self._panes.target
        task, step = target.task, target.step_name
        for need in asking:
            if task in ("", need.task) and step in ("", need.step, need.step.partition("[")[0]):
                return need.step, need.task
        below = (f"{task}/{step}/", f"{task}/{step}[") if step else (f"{task}/",)
        for need in asking:
            if task and f"{need.task}/".startswith(below):
                return need.step, need.task
        return (asking[0].step, asking[0].task) if asking else ("", "")

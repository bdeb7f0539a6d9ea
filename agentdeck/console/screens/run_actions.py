"""What an operator does to a run: each verb tells first what it touches, and asks where something is lost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agentdeck.console.commands import tell
from agentdeck.console.feed import Feed
from agentdeck.console.panes.limits import shown
from agentdeck.console.screens.ask import Ask
from agentdeck.console.screens.confirm import Confirm, yes_or_no
from agentdeck.console.screens.pane_layout import Stage
from agentdeck.errors import AgentdeckError, UsageError
from agentdeck.insight.attention import attention_items
from agentdeck.insight.formatting import plural, seconds
from agentdeck.insight.limits import limits
from agentdeck.store.command_client import Answer
from agentdeck.store.reader import Reader
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Approve, Data

if TYPE_CHECKING:
    from agentdeck.insight.step import StepStory


def _amount(text: str) -> dict[str, Data]:
    """A grant as the owner of a run is asked for it. Raises UsageError."""
    from agentdeck.operations.commands import budget_amount

    tokens = text.endswith("tokens")
    amount = text.removesuffix("tokens").strip()
    value = budget_amount(amount.removeprefix("+"), tokens)
    if not 0 < value < float("inf"):
        raise UsageError(f"{amount} is not an amount; write what is more than nothing")
    return {"measure": "tokens" if tokens else "usd", "amount": value, "more": amount.startswith("+")}


def _not_an_amount(text: str) -> str:
    try:
        _amount(text)
    except UsageError as error:
        return str(error)
    return ""


class Verbs(Stage):
    """The actions of the run screen that its owner carries out."""

    db: Path
    run: str
    view: RunView
    feed: Feed

    @property
    def now(self) -> float:
        raise NotImplementedError

    def story(self, task: str, step: str) -> StepStory:
        raise NotImplementedError

    def ask(self, verb: str, args: dict[str, Data] | None = None) -> None:
        """Ask the run's owner; the answer comes as a toast."""
        tell(self.app, self.db, self.run, verb, args)

    def used(self, key: str) -> None:
        """A key of the reminder was used: it stands there until all three were."""
        self.deck.used(key)

    def _sure(
        self, title: str, touches: Sequence[str], yes: str, verb: str, args: dict[str, Data] | None = None
    ) -> None:
        def answered(answer: str | None) -> None:
            if answer:
                self.ask(verb, args)

        if self.header.reading is not None:
            touches = [f"{self.header.told_reading}: what it touches is not known yet"]
        self.app.push_screen(Confirm(title, touches, yes_or_no(yes)), answered)

    # The run ------------------------------------------------------------------------------------------------

    def action_pause(self) -> None:
        self.used("p")
        row = self.feed.row
        paused = self.view.state == "paused" or (row is not None and row.state == "paused")
        self.ask("resume" if paused else "pause")

    def action_drain(self) -> None:
        touches = [
            f"{plural(len(self.view.running), 'running step')} will finish, nothing new starts",
            "the rest waits for whoever resumes it",
        ]
        self._sure(f"Drain {self.run}?", touches, "Drain", "drain")

    def action_cancel_run(self) -> None:
        view = self.view
        total = view.tasks.total if view.tasks.total is not None else self.header.total
        left = plural(max(0, (total or view.tasks.opened) - view.tasks.ended), "task")
        touches = [
            f"{plural(len(view.running), 'running step')} will be stopped",
            f"{left} will not be done" + ("" if total else ", and those that were not read yet"),
            "a cancelled run cannot be resumed",
        ]
        self._sure(f"Cancel {self.run}?", touches, "Cancel the run", "cancel")

    def action_more(self) -> None:
        self._workers(1.25)

    def action_fewer(self) -> None:
        self._workers(0.8)

    def _workers(self, factor: float) -> None:
        now = self.view.workers
        if now is not None:
            wanted = round(now * factor)
            self.ask("limits", {"workers": max(1, wanted if wanted != now else now + (1 if factor > 1 else -1))})

    def action_budget(self) -> None:
        """More of what the run may spend."""
        self._ask_budget()

    def _ask_budget(self, text: str = "", refused: str = "") -> None:
        """`refused`: why the owner of the run did not take this text."""
        now = {one.name: one for one in limits(self.view, self.view.now) if one.name.startswith("budget.")}
        told = [
            f"{name.removeprefix('budget.')}: {shown(one, one.value)}"
            + (f", {shown(one, one.use)} used" if one.use is not None else "")
            for name, one in now.items()
        ]
        told.append("+0.40 grants 40 cents more, 2.50 is the whole of it from now on, +100k tokens is in tokens")

        def answered(text: str | None) -> None:
            if text:
                self.grant(text)

        question = Ask("Budget", "\n".join(told), text, "+0.40", _not_an_amount, refused)
        self.app.push_screen(question, answered)

    def grant(self, text: str) -> None:
        """An amount as it is typed. Where it is refused, the question comes again, with the text in it."""
        if fault := _not_an_amount(text):
            self._ask_budget(text, fault)
            return

        def answered(answer: Answer) -> None:
            if not answer.ok and self.is_active:
                self._ask_budget(text, answer.text)

        tell(self.app, self.db, self.run, "budget", _amount(text), answered)

    # The selection ------------------------------------------------------------------------------------------

    @property
    def step(self) -> str:
        """The step that is meant, in whatever tasks; empty where none is."""
        return self.target.step or self.target.agent.rpartition("/")[2]

    def _lacks(self, task: bool, step: bool) -> bool:
        """Whether something is missing that this verb acts on; said."""
        lack = "a task first: 3 shows them" if task and not self.target.task else ""
        lack = lack or ("an agent first" if step and not self.step else "")
        if lack:
            self.notify(f"select {lack}", severity="warning", markup=False)
        return bool(lack)

    def action_cancel(self) -> None:
        """Cancel the highlighted item: a step, a task, or an agent's steps."""
        task, step = self.target.task, self.step
        if task and step:
            touches = [f"step {step} of task {task}, and what needs it", *self._stands(task, step)]
            self._sure(f"Cancel {step}?", touches, "Cancel the step", "cancel", {"task": task, "step": step})
        elif task:
            of = [step for one, step in self.view.running if f"{one}/".startswith(f"{task}/")]
            touches = [f"task {task}", f"{plural(len(of), 'running step')} will be stopped"]
            self._sure(f"Cancel task {task}?", touches, "Cancel the task", "cancel", {"task": task})
        elif step:
            tally = self.view.agents.get(self.target.agent)
            counts = tally.steps if tally else {}
            waiting = counts.get("ready", 0) + counts.get("waiting", 0)
            touches = [
                f"{plural(counts.get('running', 0), 'step')} of {step} will be stopped",
                f"{plural(waiting, 'step')} of open tasks will not start",
                "what needs them fails",
            ]
            self._sure(f"Cancel {step} in every open task?", touches, "Cancel them", "cancel", {"step": step})
        else:
            self.notify("select a task, an agent or a step first; X cancels the run", severity="warning")

    def action_skip(self) -> None:
        if self._lacks(task=True, step=True):
            return
        task, step = self.target.task, self.step
        touches = [f"task {task} goes on without {step}", *self._stands(task, step)]
        definition = self.view.definition
        needing = [n for n, a in definition.agents.items() if step in a.needs] if definition else []
        if needing and "/" not in task:
            touches.append(f"{', '.join(needing)} will not wait for it any more")
        self._sure(f"Skip {step}?", touches, "Skip the step", "skip", {"task": task, "step": step})

    def _stands(self, task: str, step: str) -> list[str]:
        """What would be lost of a step now."""
        started = self.view.running.get((task, step))
        return [f"attempt {started.attempt} has run for {seconds(self.now - started.at)}"] if started else []

    def action_hold(self) -> None:
        """Let an agent start nothing more, or let it go on as it was."""
        if self._lacks(task=False, step=True):
            return
        agent = self.target.agent or self.step.partition("[")[0]
        name = f"agents.{agent}.max_parallel"
        definition = self.view.definition
        if definition is None or agent not in definition.agents:
            self.notify(
                f"{agent} is not an agent of {self.view.workflow} itself", severity="warning", markup=False
            )
            return
        now = self.view.limits.get(name, definition.agents[agent].max_parallel)
        if now == 0:
            before = (m.text for m in reversed(self.view.timeline) if m.kind == "limit")
            held = next((text for text in before if text.startswith(f"{name}: ") and "-> 0" in text), "")
            was = held.removeprefix(f"{name}: ").partition(" -> ")[0]
            self.ask("limits", {name: int(was) if was.isdecimal() else None})
        else:
            self.ask("limits", {name: 0})

    def action_hurry(self) -> None:
        if not self._lacks(task=True, step=False):
            self.ask("hurry", {"task": self.target.task.partition("/")[0]})

    def action_release(self) -> None:
        if self._lacks(task=False, step=True):
            return
        step, where = self.step, self._where(self.step)
        task, definition = str(where.get("task", "")), self.view.definition
        touches = [f"{step}{f' of task {task}' if task else ''} goes with what has arrived"]
        if task and definition is not None and step in definition.agents:
            needs = definition.agents[step].needs
            open_ = self.view.open.get(task)
            there = [n for n in needs if open_ and (s := open_.steps.get(n)) is not None and s.state == "done"]
            lacks = [n for n in needs if n not in there]
            touches.append(f"{len(there)} of {len(needs)} arrived; without: {', '.join(lacks) or 'nothing'}")
        self._sure(f"Release {step}?", touches, "Let it go", "release", {"step": step, **where})

    def action_answer(self) -> None:
        step, task = self._asking()
        if step:
            look = partial(self._look_up, task, step)
            self.app.run_worker(look, thread=True, name="approval", exclusive=True)
        else:
            self.notify("no step asks anything here", severity="warning", markup=False)

    def _look_up(self, task: str, step: str) -> None:
        """In a thread: what the step asks, as the workflow or its sub-workflow has it."""
        from agentdeck.insight.prompt_text import approval

        try:
            reader = Reader(self.db)
            try:
                does = approval(reader, reader.run(self.run), step, task)
            finally:
                reader.close()
        except AgentdeckError as error:
            self.app.call_from_thread(self.notify, str(error), severity="error", markup=False)
            return
        if does is None:  # version 0.1 did not record every sub-workflow
            told = f"what it asks is not recorded; agentdeck approve {self.run} {step} yes|no --task {task}"
            self.app.call_from_thread(self.notify, told, severity="warning", markup=False)
        else:
            self.app.call_from_thread(self._answer, task, step, does)

    def _answer(self, task: str, step: str, does: Approve) -> None:
        from agentdeck.console.screens.answer import Answering, Given

        if not self.is_active:
            return

        def answered(given: Given | None) -> None:
            if given is not None:
                told = {"step": step, "task": task, "approved": given.approved, "fields": given.fields}
                self.ask("approve", told)

        story = partial(self.story, task, step)
        self.app.push_screen(Answering(task, step, does, story), answered)

    def _asking(self) -> tuple[str, str]:
        """The step that asks a person, and its task: the selected one, else the first there is."""
        open_ = [need for need in attention_items(self.view, self.now) if need.why == "asking"]
        selection, step = self.target, self.step
        for need in open_:
            if selection.task in ("", need.task) and step in ("", need.step, need.step.partition("[")[0]):
                return need.step, need.task
        below = (f"{selection.task}/{step}/", f"{selection.task}/{step}[") if step else (f"{selection.task}/",)
        for need in open_:
            if selection.task and f"{need.task}/".startswith(below):
                return need.step, need.task
        return (open_[0].step, open_[0].task) if open_ else ("", "")

    def _where(self, step: str) -> dict[str, Data]:
        """The task meant: the selected one, else the oldest open one where this step still waits."""
        if self.target.task:
            return {"task": self.target.task}
        for task in self.view.open.values():
            found = task.steps.get(step)
            if found is None or found.state == "waiting":
                return {"task": task.id}
        return {}

"""What an operator does to a run: each verb tells first what it touches, and asks where something is lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agentdeck.console.command import tell
from agentdeck.console.feed import Feed
from agentdeck.console.screens.confirm import Choice, Confirm, yes_or_no
from agentdeck.console.screens.stage import Stage
from agentdeck.core.view import View
from agentdeck.insight.numbers import plural
from agentdeck.workflow.model import Approve, Data


class Verbs(Stage):
    """The actions of the run screen that its owner carries out."""

    db: Path
    run: str
    view: View
    feed: Feed

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
        left = (view.tasks.total or view.tasks.opened) - view.tasks.ended
        touches = [
            f"{plural(len(view.running), 'running step')} will be stopped",
            f"{plural(max(0, left), 'task')} will not be done",
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

    # The selection ------------------------------------------------------------------------------------------

    def action_cancel(self) -> None:
        """What is selected, the smallest thing that is meant: a step, a task, an agent's steps, else the run."""
        focus, view = self.selected, self.view
        step = focus.step or focus.agent.rpartition("/")[2]
        if focus.task and step:
            touches = [f"step {step} of task {focus.task}, and what needs it"]
            self._sure(
                f"Cancel {step}?", touches, "Cancel the step", "cancel", {"task": focus.task, "step": step}
            )
        elif focus.task:
            of = [step for task, step in view.running if task == focus.task]
            touches = [f"task {focus.task}", f"{plural(len(of), 'running step')} will be stopped"]
            self._sure(f"Cancel task {focus.task}?", touches, "Cancel the task", "cancel", {"task": focus.task})
        elif step:
            tally = view.agents.get(focus.agent)
            counts = tally.steps if tally else {}
            waiting = counts.get("ready", 0) + counts.get("waiting", 0)
            touches = [
                f"{plural(counts.get('running', 0), 'step')} of {step} will be stopped",
                f"{plural(waiting, 'step')} of open tasks will not start",
                "what needs them fails",
            ]
            self._sure(f"Cancel {step} in every open task?", touches, "Cancel them", "cancel", {"step": step})
        else:
            self.action_cancel_run()

    def action_hurry(self) -> None:
        if not self.selected.task:
            self.notify("select a task first: 3 shows them", severity="warning", markup=False)
            return
        self.ask("hurry", {"task": self.selected.task})

    def action_release(self) -> None:
        focus = self.selected
        step = focus.step or focus.agent
        if not step:
            self.notify("select the agent whose join waits", severity="warning", markup=False)
            return
        where = self._where(step)
        touches = [f"{step}{f' of task {focus.task}' if focus.task else ''} goes with what has arrived"]
        self._sure(f"Release {step}?", touches, "Let it go", "release", {"step": step, **where})

    def action_answer(self) -> None:
        step, where = self._asking()
        if not step:
            self.notify("nobody asks anything here", severity="warning", markup=False)
            return
        agent = self.view.definition.agents.get(step) if self.view.definition else None
        asks = agent.does.ask if agent is not None and isinstance(agent.does, Approve) else step

        def answered(answer: str | None) -> None:
            if answer:
                self.ask("approve", {"step": step, "approved": answer == "yes", "fields": {}, **where})

        choices = [
            Choice("", "escape", "Not now"),
            Choice("yes", "y", "Approve"),
            Choice("no", "n", "Reject", danger=True),
        ]
        task = f" · task {where['task']}" if where else ""
        self.app.push_screen(Confirm(asks, [f"{step}{task}"], choices), answered)

    def _asking(self) -> tuple[str, dict[str, Data]]:
        """The step that asks a person: the selected one, else the first there is."""
        definition = self.view.definition
        asks = {n for n, a in definition.agents.items() if isinstance(a.does, Approve)} if definition else set()
        open_ = [(task, step) for task, step in self.view.running if step.partition("[")[0] in asks]
        focus = self.selected
        for task, step in open_:
            if focus.task in ("", task) and (focus.step or focus.agent) in ("", step):
                return step, {"task": task}
        return (open_[0][1], {"task": open_[0][0]}) if open_ else ("", {})

    def _where(self, step: str) -> dict[str, Data]:
        """The task meant: the selected one, else the oldest open one where this step still waits."""
        if self.selected.task:
            return {"task": self.selected.task}
        for task in self.view.open.values():
            found = task.steps.get(step)
            if found is None or found.state == "waiting":
                return {"task": task.id}
        return {}

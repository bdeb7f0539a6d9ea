"""Progress of a run on stderr: a live display in a terminal, else plain lines."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from agentdeck.cli.error_output import tidy
from agentdeck.engine.log_lines import LogLine
from agentdeck.engine.observers import EventBatch, Observer
from agentdeck.insight.formatting import plural, seconds
from agentdeck.insight.summary import simulation, task_counts
from agentdeck.providers.registry import simulates
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.approvals import command, describe
from agentdeck.scheduler.events import AUTO
from agentdeck.scheduler.questions import answer_line, approval_in
from agentdeck.terminal_text import clean
from agentdeck.views.inner_place import InnerPlaces, inside
from agentdeck.views.run_view import RunView
from agentdeck.workflow.deck import deck_for
from agentdeck.workflow.model import Approve, Definition, Prompt

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Failures that are printed one by one.
FAILURES = 20
#: Frames per second of the live display.
FRAMES = 8
#: Events of which no line is printed: most of a run.
UNREPORTED = frozenset({ev.StepStarted, ev.StepSucceeded})
#: Log lines below the live display.
LOG_LINES = 5


class Narrator(Observer, Protocol):
    """Reports on stderr what happens in a run. `close` is called by the run, `finish` once by the command; `say`
    and `line` from any thread."""

    @property
    def run(self) -> str:
        """The run's id; empty until its first event."""
        ...

    def line(self, line: LogLine) -> None: ...

    def say(self, text: str) -> None: ...

    def finish(self, view: RunView | None, state: str) -> None:
        """End the display, and report the result of the run."""
        ...


def narrator(definition: Definition, total: int | None, *, resumed: RunView | None = None) -> Narrator:
    """A live display if stderr is a terminal, else a narrator of plain lines. `total` is the number of tasks,
    None if unknown; `resumed` is the view of a run that is resumed."""
    if sys.stderr.isatty():
        return LiveNarrator(definition, total, resumed)
    return PlainNarrator(definition, total, resumed)


def attempts(view: RunView) -> int:
    return sum(totals.attempts for totals in view.agents.values())


def ending(view: RunView, state: str) -> str:
    """The result of a run in one line."""
    marks = plural(attempts(view), "attempt") + (f" · {word}" if (word := simulation(view)) else "")
    return f"{view.run} {state} in {seconds(view.seconds)}: {task_counts(view.tasks)}, {marks}"


def dead_letters(view: RunView) -> str:
    """The line on the dead letters of a run, with the command that shows them; empty where it has none."""
    if not view.letters:
        return ""
    return f"{plural(view.letters, 'dead letter')}; show and retry them with: agentdeck letters {view.run}"


def approval_pending(run: str, definition: Definition, asked: ev.Noted) -> str:
    """A line on a step that asks for approval, with the command that answers it. The command names the fields of
    an answer, except those of a sub-workflow's step, whose definition is not at hand."""
    agent = None if "/" in asked.task else definition.agents.get(asked.step.partition("[")[0])
    if (question := approval_in(asked)) is not None:
        line = answer_line(run, asked.task, asked.step, question)
        return f"task {asked.task} asks: {clean(question.ask)} -- {line}"
    does = agent.does if agent is not None and isinstance(agent.does, Approve) else None
    return f"task {asked.task} waits for an approval: {command(run, asked.task, asked.step, does)}"


def announcement(run: str, definition: Definition, event: ev.Event, places: InnerPlaces) -> str:
    """The line on a failed step, an approval, a pause, a place that is out of reach or back, or a note on the
    run; empty for other events. `places` has applied the events before."""
    match event:
        case ev.StepFailed(task=task, step=step, fault=fault, letter=True):
            return f"task {task}: {step} failed: {clean(inside(places.of(event), fault.message))}"
        case ev.StepAnswered(task=task, step=step):
            return f"task {task}: {step} {clean(describe(event))}"
        case ev.RunPaused(why=why) if why.startswith("store: "):
            return ""  # the engine said so when the store failed; this event was committed when it worked again
        case ev.RunPaused(why=why, who=who):
            return "paused" + (f": {why}" if why else f" by {who}" if who else "")
        case ev.PlaceClosed(place=place, why=why):
            return f"the place {place} is out of reach, its steps wait: {clean(why)}"
        case ev.PlaceOpened(place=place):
            return f"the place {place} is there again"
        case ev.Noted() if event.asks:
            return approval_pending(run, definition, event)
        case ev.Noted(task="", text=text):
            return clean(text)
    return ""


def _to_stderr(text: str) -> None:
    click.echo(tidy(text), err=True)


class PlainNarrator:
    """Says in lines, on stderr unless `say` takes them: the start, failures, every tenth of the tasks, pending
    approvals, changed limits, the end."""

    title = "the progress on stderr"  # as an observer

    def __init__(
        self,
        definition: Definition,
        total: int | None,
        resumed: RunView | None = None,
        say: Callable[[str], None] = _to_stderr,
    ) -> None:
        self.say = say
        self.definition = definition
        self.total = total
        self.run = resumed.run if resumed else ""
        self.ended = resumed.tasks.ended if resumed else 0
        self.begun = resumed is not None and attempts(resumed) > 0  # a new fork has not begun
        self.failed = resumed.tasks.failed if resumed else 0
        self.failures = 0
        self._reported_tenths = 0
        self._places = InnerPlaces()
        open_ = resumed.open.items() if resumed else ()
        self.tasks = {name for name, task in open_ if task.parent is None}

    def observe(self, batch: EventBatch) -> None:
        for event in batch.events:
            if type(event) not in UNREPORTED:
                self._report(event)
            elif type(event) is ev.StepStarted:
                self.begun = True

    def close(self) -> None:
        """Nothing to release."""

    def _report(self, event: ev.Event) -> None:
        self._places.apply(event)
        text = announcement(self.run, self.definition, event, self._places)
        if text and type(event) is ev.StepFailed:
            self._report_failure(text)
        elif text:
            self.say(text)
        else:
            self._report_change(event)

    def _report_change(self, event: ev.Event) -> None:
        """Count tasks, and print a change of the whole run."""
        match event:
            case ev.TaskOpened(task=task, parent=None):
                self.tasks.add(task)
            case ev.TasksExhausted(total=total, cut=cut):
                self.total = None if cut else total  # a cancelled run opens no more tasks: stop counting tenths
            case ev.TaskEnded(task=task, state=state) if task in self.tasks:
                self.tasks.discard(task)
                self.ended += 1
                self.failed += state == "failed"
                self._report_tenth()
            case ev.RunStarted(run=run):
                self.run = run
                tasks = f", {plural(self.total, 'task')}" if self.total is not None else ""
                mark = f" · {simulated}" if (simulated := _simulated(self.definition)) else ""
                workers = plural(_workers(event.limits), "worker")
                self.say(f"{run} started: {event.workflow}, {workers}{tasks}{mark}")
            case ev.RunResumed():
                ended = f", {plural(self.ended, 'task')} already ended" if self.ended or self.begun else ""
                self.say(f"{self.run} {'resumed' if self.begun else 'started'}{ended}")
            case ev.RunUnpaused():
                self.say("continued")
            case ev.LimitChanged(name=name, old=old, new=new) if event.who != AUTO:
                before, after = ("none" if value is None else value for value in (old, new))
                self.say(f"limit {name}: {before} → {after}")

    def line(self, line: LogLine) -> None:
        """Prints nothing: the log lines of agents are in the store, and `agentdeck logs` prints them."""

    def _report_failure(self, text: str) -> None:
        self.failures += 1
        if self.failures <= FAILURES:
            self.say(text)
        elif self.failures == FAILURES + 1:
            self.say(f"… further failures are not printed; list them with: agentdeck show {self.run}")

    def _report_tenth(self) -> None:
        if self.total is None or self.total < 10:
            return
        tenths = self.ended * 10 // self.total
        if tenths > self._reported_tenths and self.ended < self.total:
            self._reported_tenths = tenths
            failed = f", {self.failed:,} failed" if self.failed else ""
            self.say(f"{tenths * 10} %: {self.ended:,} of {self.total:,} tasks{failed}")

    def finish(self, view: RunView | None, state: str) -> None:
        if view is not None:
            self.say(ending(view, state))


class LiveNarrator:
    """A display that follows the run: a bar and counts for each agent, then the last log lines of agents."""

    title = "the progress on stderr"  # as an observer

    def __init__(self, definition: Definition, total: int | None, resumed: RunView | None) -> None:
        from rich.console import Console
        from rich.live import Live as Screen

        self.definition = definition
        self.total = total
        self.view = resumed or RunView(definition)
        self.lines: deque[LogLine] = deque(maxlen=LOG_LINES)
        self.failures = 0
        self._places = InnerPlaces()
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._before = self.view.seconds
        self._ended_before = self.view.tasks.ended
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._screen = Screen(
            get_renderable=self._page, console=self._console, refresh_per_second=FRAMES, transient=True
        )
        self._screen.start()

    def say(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(tidy(text)))

    @property
    def run(self) -> str:
        return self.view.run

    def observe(self, batch: EventBatch) -> None:
        with self._lock:
            for seq, event in batch.numbered():
                self.view.apply(seq, event)
        for event in batch.events:
            self._places.apply(event)
            if text := announcement(self.view.run, self.definition, event, self._places):
                self.failures += type(event) is ev.StepFailed
                if type(event) is not ev.StepFailed or self.failures <= FAILURES:
                    self.say(text)

    def close(self) -> None:
        """The display stays until `finish`."""

    def line(self, line: LogLine) -> None:
        self.lines.append(line)

    def _page(self) -> RenderableType:
        from rich.console import Group

        try:
            with self._lock:
                return Group(*self._rows())
        except RuntimeError:  # the view changed while it was read: the next frame shows it
            return Group()

    def _rows(self) -> list[Any]:
        from rich.table import Table
        from rich.text import Text

        view, tasks = self.view, self.view.tasks
        elapsed = self._before + time.monotonic() - self._began
        total = tasks.total if tasks.total is not None else self.total
        head = Text(no_wrap=True, overflow="ellipsis")
        head.append(clean(f"{view.run}  {view.workflow}  "), "bold")
        head.append(
            f"{view.state}  {tasks.ended:,}/{total if total is not None else '?'} tasks  {seconds(elapsed)}"
        )
        eta = self._eta(elapsed, total)
        if eta is not None:
            head.append(f"  about {seconds(eta)} left")
        if word := simulation(view):
            head.append(f"  {word}", "yellow")
        grid = Table.grid(padding=(0, 2))
        for justify in ("left", "left", "right", "right", "right", "right"):
            grid.add_column(justify=justify, no_wrap=True)
        titles = ("agent", "", "queued", "running", "done", "failed")
        grid.add_row(*(Text(title, "dim") for title in titles))
        height = max(3, self._console.height - 10)
        agents = [totals for totals in view.agents.values() if totals.has_steps or totals.attempts]
        styles = {"running": "cyan", "done": "green", "failed": "red"}
        for totals in agents[:height]:
            steps = totals.steps
            grid.add_row(
                Text(clean(totals.name)[:24]),
                _bar(steps, (total or tasks.opened) if not totals.graph.prefix else 0),
                Text(str(steps["ready"])),
                *(Text(str(steps[name]), style if steps[name] else "dim") for name, style in styles.items()),
            )
        rows: list[Any] = [head, grid]
        if len(agents) > height:
            rows.append(Text(f"… and {len(agents) - height} more agents", "dim"))
        for line in list(self.lines):
            text = clean(f"{line.task}/{line.step}: {line.text[:400]}")
            rows.append(Text(text, "dim", no_wrap=True, overflow="ellipsis"))
        return rows

    def _eta(self, elapsed: float, total: int | None) -> float | None:
        ended = self.view.tasks.ended - self._ended_before
        if total is None or ended < 1 or self.view.tasks.ended >= total:
            return None
        return (elapsed - self._before) / ended * (total - self.view.tasks.ended)

    def finish(self, view: RunView | None, state: str) -> None:
        self._screen.stop()
        if view is not None:
            self.say(ending(view, state))


def _bar(steps: dict[str, int], total: int) -> Any:
    from rich.text import Text

    width = 20
    whole = max(1, total, sum(steps.values()))
    bar, at, seen = Text(), 0, 0
    for number, style in (
        (steps["done"] + steps["skipped"], "green"),
        (steps["failed"] + steps["cancelled"], "red"),
        (steps["running"], "cyan"),
    ):
        seen += number
        upto = min(width, seen * width // whole)
        bar.append("━" * (upto - at), style)
        at = max(at, upto)
    bar.append("─" * (width - at), "dim")
    return bar


def _simulated(definition: Definition) -> str:
    """The mark of a run whose results are simulated, as far as that is known before it starts; else empty."""
    view = RunView(definition)
    prompts = any(isinstance(agent.does, Prompt) for agent in definition.agents.values())
    if prompts and not view.simulated and simulates(deck_for(definition.folder or Path())):
        return "simulated"
    return simulation(view)


def _workers(limits: dict[str, Any]) -> int:
    value = limits.get("workers")
    return value if isinstance(value, int) else 0

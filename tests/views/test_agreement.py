"""Whatever happens in a run: the scheduler, its fold, the run view, the step stories and the task timelines say
the same of each step after each event, and waits add up to the same times by reason."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from agentdeck.errors import Fault
from agentdeck.insight.summary import summary
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.state import (
    BETWEEN,
    DEFERRED,
    DONE,
    ENDED,
    FAILED,
    HELD,
    OPEN,
    READY,
    RUNNING,
    SKIPPED,
    AllTasks,
    Step,
    root_of,
)
from agentdeck.views.run_view import RunView
from agentdeck.views.step_story import StepStory
from agentdeck.views.step_transitions import StepView
from agentdeck.views.task_outcome import TaskOutcome
from agentdeck.views.task_timeline import TaskTimeline
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Agent, Approve, Definition, SubWorkflow
from tests.scheduler.driver import Desk, Player, definition
from tests.scheduler.graphs import Action, actions, graphs, nested, operate, random_plan, randoms

#: The states of the scheduler that the views do not distinguish, as they show them. The log does not record that
#: the needs of a step are met, and the event after an attempt says what follows.
SHOWN = {
    READY: {"ready", "waiting"},
    BETWEEN: {"ready", "waiting"},
    HELD: {"ready"},
    DEFERRED: {"ready"},
    OPEN: {"running"},
}
WORKFLOWS = sorted(Path("workflows").glob("*.yaml"))


class Views:
    """All views of one run, fed with the same events."""

    def __init__(self, of: Definition, below: dict[str, Definition]) -> None:
        self.of, self.below = of, below
        programs = {name: Program(one) for name, one in below.items()}
        self.fold = Fold(Program(of, nested=programs), run="r", workers=4, keep=AllTasks(), historic=True)
        self.run = RunView(of)
        self.timelines: dict[str, TaskTimeline] = {}
        self.stories: dict[tuple[str, str], StepStory] = {}
        self.reopened: set[str] = set()
        self.outcomes: dict[str, TaskOutcome] = {}

    def definition(self, task: str) -> Definition:
        name = task.rpartition("/")[2].partition("[")[0]
        return self.below[name] if "/" in task else self.of

    def apply(self, event: ev.Event) -> None:
        self.fold.apply(event)
        self.run.apply(self.run.seq + 1, event)
        if isinstance(event, ev.StepReopened):
            self.reopened.add(event.task)
        if isinstance(event, ev.TaskOpened) and event.task not in self.timelines:
            of = self.definition(event.task)
            self.timelines[event.task] = TaskTimeline(event.task, of)
            names = [name for name, agent in of.agents.items() if not agent.spare]
            names += [f"{name}[{i}]" for name, agent in of.agents.items() if agent.each for i in range(3)]
            for name in names:
                self.stories[event.task, name] = StepStory(of, event.task, name)
        for timeline in self.timelines.values():
            timeline.apply(event)
        for (task, _), story in self.stories.items():
            if task == getattr(event, "task", ""):
                story.apply(event)
        if task := getattr(event, "task", ""):
            root = root_of(task)
            self.outcomes.setdefault(root, TaskOutcome(root)).apply(event)
        open_ = self.fold.state.tasks.get(getattr(event, "task", ""))
        for step in open_.all_steps() if open_ is not None else ():
            self.compare(step)

    def compare(self, step: Step) -> None:
        task, key = step.task.id, step.key
        open_ = self.run.open[task]
        found = [self.stories[task, key].view] if (task, key) in self.stories else []
        if not open_.partial:
            found += filter(None, [open_.steps.get(key)])
        found += filter(None, [self.timelines[task].views.get(key)])
        for view in found:
            assert view.state in SHOWN.get(step.state, {step.state}), (task, key, step.state, view.state)
            if step.state in (HELD, DEFERRED, READY):
                assert view.reason == recorded_reason(step), (task, key)
            assert visible(view) == visible(found[0]), (task, key, step.state)
        if step.state in ENDED:
            self.compare_outcome(step)

    def compare_outcome(self, step: Step) -> None:
        """The result of a step that has ended. A step that the log has not named ended as its task did, or was
        not reached."""
        root, _, path = step.task.id.partition("/")
        outcome = self.outcomes[root].steps.get(f"{path}/{step.key}" if path else step.key)
        if outcome is not None and step.state != SKIPPED:
            # The scheduler remembers the fault of an attempt and the output of a round before.
            fault = step.fault if step.state == FAILED else None
            output = step.output if step.state == DONE else None
            assert (outcome.state, outcome.output, outcome.fault) == (step.state, output, fault), step.key


def visible(view: StepView) -> tuple[object, ...]:
    return view.state, view.reason, view.why, view.rejected, view.until, view.fault, view.attempts > 0


def recorded_reason(step: Step) -> str:
    """The end of a backoff is not recorded: a later reason says that it is over."""
    if step.wait_reason is not None:
        return step.wait_reason[0]
    return next(iter(step.backoff or {"": 0.0})) if step.state == HELD else ""


def compare_times(views: Views) -> None:
    """Each wait is in the totals of the view and in the timeline; the waits before an attempt have no gaps."""
    again = views.reopened | {task for task in views.timelines if "/" in task}  # steps that had ended wait anew
    drawn: dict[str, float] = defaultdict(float)
    for timeline in views.timelines.values():
        for row in timeline.rows():
            for place, span in enumerate(row.spans):
                if not span.attempt and span.until is not None:
                    drawn[span.kind] += span.until - span.since
                    for after in row.spans[place + 1 : place + 2] if timeline.task not in again else ():
                        assert after.since == pytest.approx(span.until, abs=1e-4)
    counted: dict[str, float] = defaultdict(float)
    for agent in views.run.agents.values():
        for reason, seconds in agent.waiting.items():
            counted[reason] += seconds
    counted.pop("approval", None)  # drawn as an attempt, that of a question as a wait
    drawn.pop("approval", None)
    reasons = set(drawn) | set(counted)
    assert {reason: drawn[reason] for reason in reasons} == {
        reason: pytest.approx(counted[reason], abs=1e-3) for reason in reasons
    }


def agree(scheduler: Scheduler, view: RunView) -> None:
    """The live scheduler and the run view: which steps run, which tasks are open, how each ended step ended."""
    live = [
        step
        for task in scheduler.state.tasks.values()
        for step in task.all_steps()
        if step.state == RUNNING or (step.state == OPEN and step.items is None)
    ]
    assert set(view.running) == {(step.task.id, step.key) for step in live if not step.questions}
    asking = {(task.id, step.key) for task in view.open.values() for step in task.steps.values() if step.asks}
    assert asking == {(step.task.id, step.key) for step in live if step.questions}
    assert sum(totals.questions for totals in view.agents.values()) == len(asking)
    assert set(view.open) == set(scheduler.state.tasks)
    assert view.steps()["running"] == len(live)
    for task in scheduler.state.tasks.values():
        shown = view.open[task.id]
        for step in filter(None, task.steps):
            if (step.state in ENDED or step.state == RUNNING) and not (
                shown.partial and step.key not in shown.steps
            ):
                assert shown.steps[step.key].state == step.state


def compare_counts(player: Player, view: RunView, agents: list[Agent]) -> None:
    """The counts of a run that is over."""
    assert view.state == player.finished
    assert not view.open
    assert not view.running
    counts = view.steps()
    assert counts["waiting"] == counts["ready"] == counts["running"] == 0
    # Items are counted even if their step is not expanded again.
    expanded = {
        (e.task, e.step): e.size for e in player.log if isinstance(e, ev.StepExpanded) and "/" not in e.task
    }
    whole = view.tasks.opened * sum(not agent.spare for agent in agents)
    own = sum(sum(counted.steps.values()) for name, counted in view.agents.items() if "/" not in name)
    assert own == whole + sum(size - 1 for size in expanded.values() if size)
    # An item that did well the second time is settled with its group, which the view does not wait for.
    items = any(agent.each or isinstance(agent.does, SubWorkflow) for agent in agents)
    assert view.letters <= len(player.letters) if items else view.letters == len(player.letters)
    assert all(0 <= agent.blocked <= agent.steps["failed"] for agent in view.agents.values())
    made = summary(view, player.definition)
    assert made.attempts == len(player.of(ev.StepStarted))
    assert all(seconds >= 0 for agent in made.agents.values() for seconds in agent.waiting.values())


@pytest.mark.untraced
@settings(phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(agents=graphs(), tasks=st.integers(1, 3), acts=actions(), random=randoms())
def test_all_views_agree_after_every_event(
    agents: list[Agent], tasks: int, acts: list[Action], random: Random
) -> None:
    of, below = definition(*agents), nested(agents)
    player = Player(of, workers=3, tasks=tasks, plan=random_plan(random), nested=below)
    views = Views(of, below)

    operate(player, acts, agents)
    while not player.finished:
        assert player.step()
        for event in player.log[views.run.seq :]:
            views.apply(event)
        agree(player.scheduler, views.run)
    player.retry(*sorted(player.letters)[:3]).play(20_000)  # what failed goes again once, after the run was over
    for event in player.log[views.run.seq :]:
        views.apply(event)
    compare_times(views)
    compare_counts(player, views.run, agents)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_all_views_agree_on_the_example_workflows(file: Path) -> None:
    of = load(file).definition
    player = Player(of, workers=3, tasks=3, desk=Desk(most=2), plan=lambda started: (1.0, failing(started)))
    for name, agent in of.agents.items():
        if isinstance(agent.does, Approve):
            for task in "123":
                player.at(200.0, ev.StepAnswered(200.0, task, name, task != "2", {}, "ada"))
    player.play(20_000)
    views = Views(of, {})
    for event in player.log:
        views.apply(event)
    compare_times(views)


def failing(started: ev.StepStarted) -> object:
    """Every step of the first task fails once."""
    if started.task == "1" and started.attempt == 1:
        return Fault("network", "cut off")
    return {"text": started.step, "files": ["a", "b"]}

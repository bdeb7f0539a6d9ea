"""Plays a scheduler on virtual time: attempts end as a plan says; invariants are checked after every event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from typing import NamedTuple

from agentdeck.agents.python import Python
from agentdeck.errors import Fault
from agentdeck.limits.rate_window import CallEntry, RateWindow
from agentdeck.limits.reservations import Amounts
from agentdeck.scheduler import actions as act
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.budget_accounts import BudgetAccounts
from agentdeck.scheduler.fold import Fold, rebuild_task
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.questions import current
from agentdeck.scheduler.run_state import RunState
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.scheduler.state import DONE, ENDED, OPEN, RUNNING, AllTasks, Step, root_of
from agentdeck.workflow.model import Agent, Budget, Data, Definition, Limits, Prompt, ProviderLimits, Rate

#: What the steps of a workflow share, where it has any that use something.
RESOURCES = {"gpu": 2, "mem": 0.3}

#: Those of the same moment are handled together, as the engine does.
ATTEMPT_ENDS = (ev.StepSucceeded, ev.AttemptFailed)

Plan = Callable[[ev.StepStarted], tuple[float, "Fault | Asks | object"]]


def agent(name: str, *needs: str, **settings: object) -> Agent:
    return Agent(name, Python(f"m:{name}"), needs=needs, **settings)  # type: ignore[arg-type]


def prompt(name: str, *needs: str, **settings: object) -> Agent:
    return Agent(name, Prompt("Say it."), needs=needs, **settings)  # type: ignore[arg-type]


def definition(
    *agents: Agent, name: str = "w", budget: Budget | None = None, resources: Mapping[str, float] = RESOURCES
) -> Definition:
    limits = Limits(resources=resources if any(a.uses for a in agents) else {})
    return Definition(name, {a.name: a for a in agents}, budget=budget, limits=limits)


class Desk:
    """Grants so many prompts in a window of ten seconds, at a desk that takes a moment to answer."""

    def __init__(self, most: int = 1000, takes: float = 0.01, tokens: int = 100) -> None:
        self.window = RateWindow()
        self.limits = ProviderLimits(requests=Rate(most, 10.0))
        self.takes = takes
        self.tokens = tokens
        self.gave_back: list[int] = []
        self.asked: list[act.Reserve] = []

    def ask(self, action: act.Reserve, now: float) -> tuple[float, ev.Signal]:
        self.asked.append(action)
        full = self.window.full(Amounts(), self.limits, now)
        where = now + self.takes, action.ask, action.task, action.step, "p"
        if full is not None:
            return now + self.takes, ev.Refused(*where, full.reason, full.until, "p: all used up")
        self.window.put(action.ask, CallEntry(now, Amounts(), ended=now))
        return now + self.takes, ev.Reserved(*where, "m", self.tokens, self.tokens / 1000)


class Asks(NamedTuple):
    """The end of an attempt that has questions."""

    questions: tuple[dict[str, Data], ...]


def answer_to(at: float, task: str, step: str, question: dict[str, Data]) -> ev.StepAnswered:
    return ev.StepAnswered(at, task, step, True, {"answer": 1}, "ada", question=str(question["id"]))


class Player:
    """One scheduler and the world around it."""

    def __init__(
        self,
        of: Definition,
        *,
        workers: int = 4,
        tasks: int = 1,
        plan: Plan | None = None,
        commit: float | None = None,
        desk: Desk | None = None,
        usage: Callable[[ev.StepStarted], ev.Usage] | None = None,
        nested: Mapping[str, Definition] | None = None,
        renders: float = 0.0,
        order: tuple[str, ...] = (),
    ) -> None:
        self.definition = of
        self.nested = {name: Program(below) for name, below in (nested or {}).items()}
        self.workers = workers
        self.scheduler = Scheduler(
            Program(of, nested=self.nested), run="r", workers=workers, gated=commit is not None
        )
        self.desk = desk
        self.usage = usage
        self.renders = renders
        if desk is not None:
            self.scheduler.configure_providers({}, reserve=True)
        self.plan = plan or (lambda started: (1.0, None))
        self.commit = commit
        self.tasks = tasks
        self.now = 0.0
        self.opened = 0
        self.log: list[ev.Event] = []
        self.asked: list[act.StartAttempt] = []
        self.cancels: list[act.CancelAttempt] = []
        self.letters: set[tuple[str, str]] = set()
        self.retried: set[tuple[str, str]] = set()
        self.released: set[tuple[str, str]] = set()
        self.open_most = 0
        self.durable = 0
        self.crashes: list[float] = []
        self.ended_at: dict[tuple[str, str], int] = {}
        self.finished = ""
        self._ends: list[tuple[float, int, ev.Event | ev.Signal]] = []
        self._ticket = 0
        self.send(ev.RunStarted(0.0, "r", of.name, "", {}, {}, tasks=tasks, order=order))

    def at(self, when: float, event: ev.Event | ev.Signal) -> None:
        self._ticket += 1
        heappush(self._ends, (when, self._ticket, event))

    def recall(self, task: str) -> None:
        """Bring ended tasks back from the log, as the owner of a live run does."""
        root = root_of(task)
        past = [e for e in self.log if root_of(getattr(e, "task", "")) == root]
        self.scheduler.restore_tasks(rebuild_task(self.scheduler.state.program, "r", int(root), past))

    def send(self, event: ev.Event | ev.Signal) -> None:  # noqa: C901  one arm for each kind of action
        if isinstance(event, ev.StepReopened):
            self.recall(event.task)
        todo = [event]
        while todo:
            before, handled = self.scheduler.state.seq, todo.pop(0)
            if isinstance(handled, ev.Committed):
                self.durable = max(self.durable, handled.seq)
            for action in self.scheduler.handle(handled):
                match action:
                    case act.Record(event=recorded):
                        self.log.append(recorded)
                        if isinstance(recorded, ev.StepReleased):
                            self.released.add((recorded.task, recorded.step))
                        elif isinstance(recorded, ev.StepSucceeded | ev.StepDone) or (
                            isinstance(recorded, ev.StepAnswered) and not recorded.question
                        ):
                            self.ended_at[recorded.task, recorded.step] = len(self.log)
                    case act.StartAttempt(started=started):
                        self.asked.append(action)
                        step = self._live(started)
                        if step is None:
                            continue
                        self._check_gate(step)
                        if started.agent in self.nested and not step.acting.slot:
                            nested = f"{started.task}/{started.step}"
                            todo.append(ev.TaskOpened(self.now, nested, {}, (started.task, started.step)))
                        elif step.acting.slot:
                            self._run(started)
                    case act.PullTask():
                        self.opened += 1
                        more = self.opened <= self.tasks
                        todo.append(
                            ev.TaskOpened(self.now, str(self.opened), {"n": self.opened})
                            if more
                            else ev.TasksExhausted(self.now, self.tasks)
                        )
                    case act.Reserve():
                        assert self.desk is not None
                        self.at(*self.desk.ask(action, self.now))
                    case act.ReleaseReservation():
                        assert self.desk is not None
                        self.desk.gave_back.append(action.ask)
                    case act.RenderOutput(ask, task, template, scope):
                        when = self.now + self.renders
                        self.at(when, ev.OutputRendered(when, ask, task, template.render(scope)))
                    case act.CancelAttempt():
                        self.cancels.append(action)
                    case act.UpdateLetters(task=task, step=step, state=stands):
                        within = {one for one in self.letters if under("/".join(one), f"{task}/{step}")}
                        if stands == "retried":
                            self.retried |= within
                        else:
                            self.letters -= {one for one in within if one == (task, step) or one in self.retried}
                    case act.SaveLetter(task=task, step=step):
                        self.letters.add((task, step))
                        self.retried.discard((task, step))
                    case act.Finish(state=state):
                        assert not self.finished
                        self.finished = state
            if self.commit is not None and self.scheduler.state.seq > before:
                self.at(self.now + self.commit, ev.Committed(self.now + self.commit, self.scheduler.state.seq))
            self.open_most = max(self.open_most, len(self.scheduler.state.tasks))
            check(self.scheduler, self.released)

    def _check_gate(self, step: Step) -> None:
        """What it reads is on disk."""
        for index in step.rule.upstream if self.commit is not None else ():
            need = step.task.steps[index]
            if need is not None and need.state == DONE:
                assert self.ended_at.get((step.task.id, need.key), 0) <= self.durable

    def _live(self, started: ev.StepStarted) -> Step | None:
        """The step, unless it has gone on without this attempt."""
        task = self.scheduler.state.tasks.get(started.task)
        step = task.step(started.step) if task is not None else None
        return step if step is not None and step.attempt == started.attempt and not step.ended else None

    def _run(self, started: ev.StepStarted) -> None:
        length, end = self.plan(started)
        when = self.now + length
        ended: ev.Event
        attempt = started.task, started.step, started.attempt
        if isinstance(end, Asks):
            self._look_inside(when, length, attempt)
            ended = ev.AttemptAsked(when, *attempt, end.questions)
            for at, question in enumerate(end.questions, 1):
                self.at(when + at, answer_to(when + at, *attempt[:2], question))
        elif isinstance(end, Fault):
            ended = ev.AttemptFailed(when, *attempt, end)
        else:
            ended = ev.StepSucceeded(when, started.task, started.step, started.attempt, end)
            if self.usage is not None:
                ended = ended._replace(usage=self.usage(started))
        self.at(when, ended)

    def _look_inside(self, when: float, length: float, attempt: tuple[str, str, int]) -> None:
        """The worker of an attempt, and its inner steps: one ends before it does, the other with it."""
        self.at(when - length, ev.AttemptPlaced(when, *attempt, f"w{len(self.log) % 3}"))
        self.at(when - length, ev.InnerStarted(when, *attempt, 1, "model"))
        self.at(when - length / 2, ev.InnerEnded(when, *attempt, 1))
        self.at(when - length / 2, ev.InnerStarted(when, *attempt, 2, "tool"))

    def _answer(self) -> bool:
        """Answer a question whose answer was lost in a crash; False where none is open."""
        for step in self.scheduler.state.unended():
            question = current(step)
            if question is not None:
                self.send(answer_to(self.now, step.task.id, step.key, question))
                return True
        return False

    def crash(self) -> None:
        """The process dies; another one takes the run up with what is on disk."""
        if self.commit is not None:
            del self.log[max(1, self.durable) :]
        reopened = {root_of(e.task) for e in self.log if isinstance(e, ev.StepReopened)}
        program = Program(self.definition, nested=self.nested)
        for nested in self.nested.values():
            for rule in nested.rules:
                rule.live = 0
        gated = self.commit is not None
        self.scheduler = Scheduler(program, run="r", workers=self.workers, gated=gated, keep=reopened)
        for event in self.log:
            self.scheduler.apply(event)
        self.scheduler.forget()
        self.durable = self.scheduler.state.seq
        self.opened = self.scheduler.state.opened
        self.letters &= {(e.task, e.step) for e in self.log if isinstance(e, ev.StepFailed)}
        lost = (ev.StepSucceeded, ev.AttemptFailed, ev.Committed, ev.OutputRendered)
        self._ends = sorted(one for one in self._ends if not isinstance(one[2], lost))
        self.send(ev.RunResumed(self.now))

    def step(self) -> bool:
        """Let the next thing happen; False when nothing will."""
        due = self.scheduler.deadline
        if self.crashes and self.crashes[0] <= min(due, self._ends[0][0] if self._ends else due):
            self.now = max(self.now, self.crashes.pop(0))
            self.crash()
            return True
        if self._ends and self._ends[0][0] <= due:
            self.now, _, event = heappop(self._ends)
            together = [event._replace(at=self.now)]
            while isinstance(event, ATTEMPT_ENDS) and self._ends and self._ends[0][0] == self.now:
                if not isinstance(self._ends[0][2], ATTEMPT_ENDS):
                    break
                together.append(heappop(self._ends)[2]._replace(at=self.now))
            self.send(together[0] if len(together) == 1 else ev.Batch(self.now, tuple(together)))
        elif due < float("inf"):
            self.now = max(self.now, due)
            self.send(ev.TimerFired(self.now))
        else:
            return self._answer()
        return True

    def retry(self, *steps: tuple[str, str], inputs: dict[str, object] | None = None) -> Player:
        """Take up a run that is over, with these steps again."""
        self.finished = ""
        for task, _ in steps:
            self.recall(task)
        self.durable = self.scheduler.state.seq
        again = [ev.StepReopened(self.now, task, step, "ada", inputs) for task, step in steps]
        self.send(ev.Batch(self.now, (ev.RunResumed(self.now), *again)))
        return self

    def play(self, limit: int = 100_000) -> Player:
        """Until the run is over."""
        for _ in range(limit):
            if self.finished:
                return self
            if not self.step():
                raise AssertionError(f"stuck: {snapshot(self.scheduler.state)}")
        raise AssertionError("endless")

    def of(self, kind: type) -> list[ev.Event]:
        return [event for event in self.log if type(event) is kind]

    def states(self, task: str = "1") -> dict[str, str]:
        """How each step of a task stood at the end, read from the log alone."""
        names = {
            ev.StepSucceeded: "done",
            ev.StepDone: "done",
            ev.StepAnswered: "done",
            ev.StepFailed: "failed",
            ev.StepSkipped: "skipped",
            ev.StepCancelled: "cancelled",
        }
        return {e.step: names[type(e)] for e in self.log if type(e) in names and e.task == task}  # type: ignore[union-attr]

    def starts(self, step: str) -> list[float]:
        return [e.at for e in self.log if isinstance(e, ev.StepStarted) and e.step == step]


def under(path: str, whole: str) -> bool:
    """Whether a step is this one, an item of it, or in a task nested in it."""
    return path == whole or path.startswith((whole + "[", whole + "/"))


def check(scheduler: Scheduler, released: set[tuple[str, str]]) -> None:
    """Every invariant of the state. A person may have `released` joins before their time."""
    steps = [step for task in scheduler.state.tasks.values() for step in task.all_steps()]
    running = {step for step in steps if step.state == RUNNING}
    assert running == scheduler.state.running
    left = (step for step in steps if not step.ended and step.items is None)
    assert abs(scheduler.state.work - sum(step.rule.work for step in left)) < 1e-6
    assert scheduler.state.open_tasks == sum(task.parent is None for task in scheduler.state.tasks.values())
    for task in scheduler.state.tasks.values():
        assert task.left == sum(s is not None and s.state not in ENDED for s in task.steps)
    programs = [scheduler.state.program, *scheduler.state.program.nested.values()]
    live = Counter(id(step.acting) for step in running)
    for rule in (rule for program in programs for rule in program.rules):
        assert rule.live == live[id(rule)], rule.name
    for name, resource in scheduler.state.resources.by_name.items():
        assert resource.used == sum(dict(step.acting.uses).get(name, 0) for step in running), name
        assert resource.requested >= 0, name
    for step in (s for s in steps if s.group is None):
        ended = [s.state for i in step.rule.needs if (s := step.task.steps[i]) is not None and s.state in ENDED]
        assert step.arrived == ended.count("done")
        assert step.arrived + step.absent + step.tolerated + step.broken == len(ended)
        whole = step.rule.join.kind == "all" and step.rule.join.within is None
        if step.state in (RUNNING, OPEN) and whole and (step.task.id, step.key) not in released:
            assert len(ended) == len(step.rule.needs)


def refold(player: Player) -> Fold:
    """A scheduler made by folding the log alone."""
    fold = Fold(Program(player.definition, nested=player.nested), run="r", workers=4, keep=AllTasks())
    fold.state.workers = int(player.scheduler.state.workers) if not player.of(ev.LimitChanged) else 4
    for event in player.log:
        fold.apply(event)
    return fold


def snapshot(state: RunState) -> dict[str, Data]:
    """The state as plain data, for comparing two folds."""
    return {
        "seq": state.seq,
        "state": state.status,
        "workers": state.workers,
        "exhausted": state.exhausted,
        "closed": {name: tuple(place) for name, place in state.closed_places.items()},
        "running": sorted((s.task.id, s.key, s.attempt) for s in state.running),
        "open": state.open_tasks,
        "accounts": ledgers(state.accounts),
        "changed_limits": dict(state.changed_limits),
        "resources": {name: [one.limit, one.used] for name, one in state.resources.by_name.items()},
        "timeouts": [rule.attempt_timeout for rule in state.program.rules],
        "tasks": {
            task.id: {
                s.key: [s.state, s.attempt, s.tries, s.round, s.arrived, s.absent, s.broken, s.acting.name]
                for s in task.all_steps()
            }
            for task in state.tasks.values()
        },
    }


def ledgers(accounts: BudgetAccounts) -> Data:
    """The budgets as plain data."""
    found = {"": accounts.run, **accounts.tasks}
    return {
        name: [
            one.usd,
            one.tokens,
            one.used_tokens,
            round(one.used_usd, 9),
            one.held_tokens,
            one.likely_tokens,
            one.rungs,
        ]
        for name, one in sorted(found.items())
        if one is not None and (one.used_tokens or one.held_tokens or one.rungs or not name)
    }

"""Calls that an attempt makes through the gateway: nested tasks that need no worker and end with the attempt."""

from __future__ import annotations

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import call_id
from agentdeck.workflow.model import Agent, Budget, Data, Definition, ModelCall, Retry, Timeout
from tests.scheduler.driver import Desk, Player, agent, definition, prompt, refold, snapshot

MODELS = definition(
    *(Agent(tier, ModelCall(), tier=tier, retry=Retry(2, delay=0.0)) for tier in ("execution", "routing")),
    name="models",
)


def called(number: int, at: float, *, attempt: int = 1, task: str = "1", to: str = "execution") -> ev.TaskOpened:
    inputs: dict[str, Data] = {"size": 40}
    return ev.TaskOpened(at, call_id(task, "ask", attempt, number), inputs, (task, "ask"), to)


class Calling(Player):
    """A workflow of an agent `ask` that makes calls, and others. An attempt of `ask` takes 10 s, all else 1 s."""

    def __init__(
        self, *others: Agent, takes: float = 10.0, budget: Budget | None = None, **options: object
    ) -> None:
        def plan(started: ev.StepStarted) -> tuple[float, Fault | object]:
            return (takes if started.step == "ask" else 1.0), "answer"

        options.setdefault("plan", plan)
        of: Definition = definition(
            agent("ask", retry=Retry(1), timeout=Timeout(attempt=None)), *others, budget=budget
        )
        super().__init__(of, nested={"ask": MODELS}, **options)  # type: ignore[arg-type]

    def call(self, number: int, at: float, **which: object) -> None:
        self.at(at, called(number, at, **which))  # type: ignore[arg-type]

    def ended(self) -> dict[str, str]:
        """How each call ended, by its number."""
        ends = (e for e in self.log if isinstance(e, ev.TaskEnded) and "[" in e.task)
        return {e.task.partition("[")[2][:-1]: e.state for e in ends}


def folds_to_the_same(player: Player) -> bool:
    return snapshot(refold(player).state) == snapshot(player.scheduler.state)


def test_a_call_needs_no_worker_and_leaves_its_attempt_running() -> None:
    player = Calling(workers=1)
    for number in (1, 2):
        player.call(number, 2.0)
    player.play()
    assert player.starts("execution") == [2.0, 2.0], "beside the step that holds the only worker"
    assert player.ended() == {"1.1": "done", "1.2": "done"}
    assert player.states() == {"ask": "done"}
    assert folds_to_the_same(player)


def test_only_the_agent_that_is_called_takes_part() -> None:
    player = Calling(workers=1)
    player.call(1, 1.0, to="routing")
    player.play()
    assert player.starts("routing") == [1.0]
    assert not player.starts("execution")


def test_calls_wait_for_a_provider_behind_older_prompts_but_never_for_a_worker() -> None:
    """One worker, held by the step that calls. A prompt of the same provider is ahead of the call and waits for
    that worker: were the call behind it, both would wait for ever."""
    player = Calling(prompt("say"), prompt("more"), workers=2, desk=Desk(most=1), takes=30.0)
    player.at(2.0, ev.LimitChanged(2.0, "workers", 2, 1, "ada"))
    player.call(1, 3.0)
    player.play()
    assert player.starts("say") == [0.01]
    assert 10.0 < player.starts("execution")[0] < 11.0
    assert player.starts("more")[0] > 30.0
    assert folds_to_the_same(player)


def test_calls_take_turns_with_prompts_in_the_order_of_age() -> None:
    player = Calling(prompt("say"), workers=8, tasks=2, desk=Desk(most=2), takes=30.0)
    player.call(1, 1.0, task="2")
    player.call(1, 1.0, task="1")
    player.play()
    order = [e.task for e in player.log if isinstance(e, ev.StepStarted) and e.step == "execution"]
    assert order == ["1/ask[1.1]", "2/ask[1.1]"]


def test_a_call_is_tried_again_and_its_failure_is_no_dead_letter() -> None:
    def plan(started: ev.StepStarted) -> tuple[float, Fault | object]:
        return (10.0, "answer") if started.step == "ask" else (1.0, Fault("server", "no"))

    player = Calling(plan=plan)
    player.call(1, 0.0)
    player.play()
    assert len(player.of(ev.AttemptFailed)) == 2
    assert player.ended() == {"1.1": "failed"}
    assert player.letters == set()
    assert player.finished == "done", "the attempt that called got the error, and ended well"


def test_calls_end_with_their_attempt() -> None:
    player = Calling(workers=2)
    player.call(1, 9.5)
    player.play()
    assert player.ended() == {"1.1": "cancelled"}
    assert [(one.task, one.step) for one in player.cancels] == [("1/ask[1.1]", "execution")]
    assert player.log.index(player.of(ev.StepCancelled)[0]) < player.log.index(player.of(ev.StepSucceeded)[-1])
    assert folds_to_the_same(player)


def test_calls_end_when_their_attempt_fails_or_is_cancelled() -> None:
    for end in (ev.AttemptFailed(5.0, "1", "ask", 1, Fault("exit", "1")), ev.CancelAsked(5.0, "1", "ask")):
        player = Calling()
        player.call(1, 4.5)
        player.at(5.0, end)
        player.play()
        assert player.ended() == {"1.1": "cancelled"}


def test_a_call_of_an_attempt_that_has_ended_is_ignored() -> None:
    player = Calling(agent("last", "ask"))
    player.call(1, 10.5)
    player.play()
    assert [e.task for e in player.log if isinstance(e, ev.TaskOpened)] == ["1"]


def test_calls_of_a_lost_attempt_count_as_lost_prompts_and_are_cancelled() -> None:
    player = Calling(desk=Desk(), budget=Budget(tokens=10_000))
    player.call(1, 2.0)
    player.crashes = [2.5]
    player.call(1, 4.0, attempt=2)
    player.play()
    (lost, holder) = player.of(ev.AttemptLost)
    assert isinstance(lost, ev.AttemptLost)
    assert isinstance(holder, ev.AttemptLost)
    assert (lost.task, holder.step) == ("1/ask[1.1]", "ask")
    assert lost.usage is not None
    assert lost.usage.estimated
    assert player.ended() == {"1.1": "cancelled", "2.1": "done"}
    assert folds_to_the_same(player)


def test_hundreds_of_calls_leave_nothing_behind() -> None:
    player = Calling(workers=1, takes=100.0)
    for number in range(300):
        player.call(number, 1.0 + number / 300)
    while player.step() and player.now < 9.0:
        pass
    state = player.scheduler.state
    assert len(player.ended()) == 300
    assert list(state.tasks) == ["1"]
    assert not state.tasks["1"].past
    step = state.step("1", "ask")
    assert step.calls == {}
    assert state.calling == 0


def test_an_agent_that_is_held_makes_no_calls() -> None:
    player = Calling()
    player.at(1.0, ev.LimitChanged(1.0, "agents.ask.max_parallel", None, 0, "ada"))
    player.call(1, 2.0)
    player.at(5.0, ev.LimitChanged(5.0, "agents.ask.max_parallel", 0, 3, "ada"))
    player.play()
    assert player.starts("execution") == [5.0]


def test_calls_wait_while_the_run_is_paused_and_go_on_while_it_drains() -> None:
    player = Calling(workers=1, tasks=2)
    player.at(1.0, ev.RunPaused(1.0))
    player.call(1, 2.0)
    player.at(4.0, ev.RunUnpaused(4.0))
    player.at(5.0, ev.RunDrained(5.0))
    player.call(2, 6.0)
    player.play()
    assert player.starts("execution") == [4.0, 6.0]
    assert player.finished == "drained"


def test_a_hurried_task_takes_its_calls_with_it() -> None:
    player = Calling(workers=8, tasks=2, desk=Desk(most=1), takes=60.0)
    for task in ("1", "2"):
        player.call(1, 1.0, task=task)
        player.call(2, 1.0, task=task)
    player.at(2.0, ev.TaskHurried(2.0, "2"))
    player.play()
    order = [e.task for e in player.log if isinstance(e, ev.StepStarted) and e.step == "execution"]
    assert order == ["1/ask[1.1]", "2/ask[1.1]", "2/ask[1.2]", "1/ask[1.2]"]


def test_a_budget_that_is_used_up_asks_and_the_call_waits() -> None:
    usage = ev.Usage(100, 0, 0, 0.1)
    player = Calling(desk=Desk(), budget=Budget(tokens=150), usage=lambda started: usage)
    player.call(1, 1.0)
    player.call(2, 3.0)
    player.at(6.0, ev.LimitChanged(6.0, "budget.tokens", 150, 1000, "ada"))
    player.at(6.0, ev.RunUnpaused(6.0))
    player.play()
    (paused,) = player.of(ev.RunPaused)
    assert paused.at == 3.01
    assert player.starts("execution")[1] > 6.0


def test_a_budget_that_stops_ends_the_call_and_its_step() -> None:
    usage = ev.Usage(100, 0, 0, 0.1)
    budget = Budget(tokens=150, ladder=((1.0, "stop"),))
    player = Calling(desk=Desk(), budget=budget, usage=lambda started: usage)
    player.call(1, 1.0)
    player.call(2, 3.0)
    player.play()
    assert player.ended() == {"1.1": "done", "1.2": "cancelled"}
    assert player.finished == "cancelled"


def test_a_call_that_the_budget_refuses_while_the_run_drains_is_cancelled() -> None:
    usage = ev.Usage(100, 0, 0, 0.1)
    budget = Budget(tokens=150)
    player = Calling(desk=Desk(), budget=budget, usage=lambda started: usage, workers=1, tasks=2)
    player.call(1, 1.0)
    player.at(2.5, ev.RunDrained(2.5))
    player.call(2, 3.0)
    player.play()
    assert player.ended() == {"1.1": "done", "1.2": "cancelled"}
    assert player.finished == "drained"


def test_steps_of_a_sequential_workflow_make_calls() -> None:
    player = Calling(workers=2)
    player.at(0.5, ev.Noted(0.5, "mode", data={"mode": "sequential"}))
    player.call(1, 1.0)
    player.play()
    assert player.starts("execution") == [1.0]

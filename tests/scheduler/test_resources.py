"""Steps share resources: all of them or none, in exact amounts, under limits that change, and no step starves."""

from __future__ import annotations

from itertools import pairwise

from agentdeck.errors import Fault
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.program import Program
from agentdeck.scheduler.resource_queue import TURNS
from agentdeck.scheduler.scheduler import Scheduler
from agentdeck.workflow.model import Agent, Definition, Limits, SubWorkflow
from tests.scheduler.driver import Desk, Player, agent, definition, prompt, refold, snapshot

GPUS = {"gpu": 4}


def in_use(player: Player, name: str) -> float:
    """The largest amount of a resource that was in use at once."""
    most, now = 0.0, dict[tuple[str, str], float]()
    for event in player.log:
        if isinstance(event, ev.StepStarted):
            now[event.task, event.step] = (event.uses or {}).get(name, 0.0)
        elif isinstance(event, ev.StepSucceeded | ev.AttemptFailed | ev.AttemptLost | ev.StepCancelled):
            now.pop((event.task, event.step), None)
        most = max(most, round(sum(now.values()), 6))
    return most


def started(player: Player, step: str) -> dict[str, float]:
    """When the first attempt of this step started in each task."""
    found: dict[str, float] = {}
    for event in player.log:
        if isinstance(event, ev.StepStarted) and event.step == step:
            found.setdefault(event.task, event.at)
    return found


def test_no_more_steps_run_than_their_resource_allows() -> None:
    player = Player(definition(agent("train", uses={"gpu": 2}), resources=GPUS), workers=8, tasks=6).play()
    assert in_use(player, "gpu") == 4
    assert player.starts("train") == [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
    assert [event.uses for event in player.of(ev.StepStarted)][:1] == [{"gpu": 2}]  # type: ignore[union-attr]


def test_a_step_takes_all_that_it_uses_or_nothing() -> None:
    """`both` lacks the memory that `heavy` holds, so it leaves the GPU to `light`."""
    of = definition(
        agent("heavy", uses={"mem": 6}),
        agent("both", uses={"gpu": 1, "mem": 6}),
        agent("light", uses={"gpu": 1}),
        resources={"gpu": 1, "mem": 8},
    )
    player = Player(of, workers=8, plan=lambda e: (3.0, None) if e.step == "heavy" else (1.0, None)).play()
    assert {step: player.starts(step) for step in of.agents} == {"heavy": [0.0], "both": [3.0], "light": [0.0]}


def test_amounts_are_exact() -> None:
    """In binary fractions, 0.1 ten times is less than 1, and 0.1 three times is more than 0.3."""
    ten = definition(agent("a", each=str([1] * 11), uses={"mem": 0.1}), resources={"mem": 1})
    assert Player(ten, workers=20).play().starts("a[9]") == [0.0]
    assert Player(ten, workers=20).play().starts("a[10]") == [1.0]
    three = definition(agent("a", each="[1, 2, 3]", uses={"mem": 0.1}), resources={"mem": 0.3})
    assert Player(three, workers=20).play().starts("a[2]") == [0.0]


def test_an_attempt_that_fails_and_one_that_waits_for_a_retry_hold_nothing() -> None:
    of = definition(agent("a", uses={"gpu": 1}), agent("b", uses={"gpu": 1}), resources={"gpu": 1})
    fault = Fault("rate_limit", "")
    player = Player(of, plan=lambda e: (1.0, fault if e.step == "a" and e.attempt == 1 else None)).play()
    assert player.starts("b") == [1.0]
    assert in_use(player, "gpu") == 1


# In turn


def small_and_large() -> Player:
    """A large step in the first task; a small one in each of many, which end one after another."""
    of = definition(
        agent("large", when="inputs.n == 13", uses={"mem": 8}),
        agent("small", uses={"mem": 1}),
        resources={"mem": 10},
    )
    return Player(of, workers=40, tasks=300, plan=lambda e: (1 + int(e.task) % 7 / 10, None))


def test_small_steps_pass_a_large_one_but_not_for_ever() -> None:
    player = small_and_large().play()
    at = started(player, "large")["13"]
    waited = [event for event in player.log if isinstance(event, ev.StepStarted) and 0 < event.at < at]
    assert 10 < len(waited) <= TURNS * 8 + 20
    assert at < max(player.starts("small")) / 2
    claims = [event for event in player.of(ev.StepWaited) if isinstance(event, ev.StepWaited)]
    assert [(one.task, one.step, one.reason, one.why) for one in claims] == [
        ("13", "large", "resources", "mem: what becomes free is kept for it, 8 in all")
    ]
    passing = [event.at for event in player.of(ev.StepStarted) if claims[0].at < event[0] < at]
    assert not passing


def test_a_claim_leaves_what_it_does_not_need() -> None:
    """While memory is kept for `large`, steps that use only a GPU go on."""
    of = definition(
        agent("large", when="inputs.n == 13", uses={"mem": 8, "gpu": 1}),
        agent("small", uses={"mem": 1}),
        agent("other", uses={"gpu": 1}),
        resources={"mem": 10, "gpu": 3},
    )
    player = Player(of, workers=60, tasks=200, plan=lambda e: (1 + int(e.task) % 7 / 10, None)).play()
    claim = next(event.at for event in player.log if isinstance(event, ev.StepWaited))
    at = started(player, "large")["13"]
    assert claim < at
    meanwhile = [e for e in player.log if isinstance(e, ev.StepStarted) and claim < e.at < at]
    assert {e.step for e in meanwhile} == {"other"}
    assert in_use(player, "gpu") == 3


def test_a_step_that_may_not_start_anyway_keeps_nothing_for_itself() -> None:
    """`large` is held by the operator while it waits: the small ones need not wait for it."""
    player = small_and_large()
    player.at(1.0, ev.LimitChanged(1.0, "agents.large.max_parallel", None, 0, "ada"))
    player.at(60.0, ev.LimitChanged(60.0, "agents.large.max_parallel", 0, None, "ada"))
    player.play()
    assert started(player, "large")["13"] >= 60.0
    assert not player.of(ev.StepWaited)


def test_waiting_steps_that_use_the_same_are_one_group() -> None:
    """So a resource that becomes free costs one comparison, however many wait."""
    of = definition(agent("list"), agent("a", "list", each="list", uses={"gpu": 1}), resources=GPUS)
    items = [1] * 1000
    player = Player(of, workers=2000, plan=lambda e: (1.0, items if e.step == "list" else None))
    while not player.starts("a[3]"):
        assert player.step()
    queue = player.scheduler._resources
    assert [len(group) for group in queue.groups.values()] == [996]
    assert not player.scheduler._queue.heap
    assert len(queue.waiting()) == 996
    player.play()
    assert not queue.groups


def test_steps_start_in_order() -> None:
    of = definition(agent("a", uses={"gpu": 1}), agent("b", uses={"gpu": 2}), resources={"gpu": 2})
    player = Player(of, workers=4, tasks=3).play()
    order = [(event.task, event.step) for event in player.log if isinstance(event, ev.StepStarted)]
    assert order[:2] == [("1", "a"), ("2", "a")]
    assert all(one.at <= other.at for one, other in pairwise(player.of(ev.StepStarted)))


# Limits that change


def test_a_raised_limit_starts_what_fits_and_a_lowered_one_stops_nothing() -> None:
    player = Player(definition(agent("a", uses={"gpu": 1}), resources=GPUS), workers=20, tasks=16)
    player.at(0.25, ev.LimitChanged(0.25, "gpu", 4, 6.0, "ada"))
    player.at(0.5, ev.LimitChanged(0.5, "gpu", 6, 1, "ada"))
    player.at(3.5, ev.LimitChanged(3.5, "gpu", 1, 20, "ada"))
    player.play()
    assert player.starts("a") == [0.0] * 4 + [0.25] * 2 + [1.25, 2.25, 3.25] + [3.5] * 7
    assert not [event for event in player.log if isinstance(event, ev.AttemptLost | ev.StepCancelled)]


def test_a_limit_below_what_a_step_uses_holds_it_and_lets_others_pass() -> None:
    of = definition(agent("big", uses={"gpu": 3}), agent("one", uses={"gpu": 1}), resources=GPUS)
    player = Player(of, workers=20, tasks=20)
    player.at(0.5, ev.LimitChanged(0.5, "gpu", 4, 2, "ada"))
    while player.step() and player.now < 40:
        held = player.scheduler.never_fitting()
    assert {name: {step.key for step in steps} for name, steps in held.items()} == {"gpu": {"big"}}
    assert len(player.starts("one")) == 20
    assert player.starts("big") == [0.0]
    player.send(ev.LimitChanged(40.0, "gpu", 2, 3, "ada"))
    player.play()
    assert len(player.starts("big")) == 20
    assert not player.of(ev.StepWaited)


def test_a_limit_of_zero_holds_every_step_that_uses_it() -> None:
    player = Player(definition(agent("a", uses={"gpu": 1}), agent("b"), resources=GPUS), workers=20, tasks=9)
    player.at(0.5, ev.LimitChanged(0.5, "gpu", 4, 0, "ada"))
    player.at(9.0, ev.LimitChanged(9.0, "gpu", 0, 0.5, "ada"))
    player.at(10.0, ev.LimitChanged(10.0, "gpu", 0.5, 1, "ada"))
    player.play()
    assert player.starts("a") == [0.0] * 4 + [10.0] + [11.0] + [12.0] + [13.0] + [14.0]
    assert player.starts("b") == [0.0] * 9


# With everything else


def test_a_prompt_that_waits_for_its_provider_holds_no_resource() -> None:
    """Two prompts in ten seconds: the third waits for the provider, and `work` has its GPU."""
    of = definition(
        prompt("ask", each="[1, 2, 3]", uses={"gpu": 1}), agent("work", each="[1, 2]", uses={"gpu": 2}),
        resources={"gpu": 2},
    )  # fmt: skip
    player = Player(of, workers=8, desk=Desk(most=2)).play()
    assert in_use(player, "gpu") == 2
    assert player.starts("ask[2]")[0] > 10.0
    assert max(player.starts("work[0]") + player.starts("work[1]")) < 4.0


def test_a_limit_that_is_lowered_while_a_prompt_is_reserved_is_kept() -> None:
    of = definition(prompt("ask", uses={"gpu": 2}), resources={"gpu": 2})
    desk = Desk(takes=1.0)
    player = Player(of, desk=desk)
    player.at(0.5, ev.LimitChanged(0.5, "gpu", 2, 1, "ada"))
    player.at(5.0, ev.LimitChanged(5.0, "gpu", 1, 2, "ada"))
    player.play()
    assert player.starts("ask") == [6.0]
    assert len(desk.gave_back) == 1


def test_what_a_requested_reservation_uses_is_kept_for_it() -> None:
    of = definition(prompt("ask", uses={"gpu": 2}), agent("work", uses={"gpu": 1}), resources={"gpu": 2})
    player = Player(of, desk=Desk(takes=0.5)).play()
    assert player.starts("ask") == [0.5]
    assert player.starts("work") == [1.5]


def test_another_process_goes_on_with_what_the_log_says() -> None:
    of = definition(agent("a", uses={"gpu": 3, "mem": 0.1}), resources={"gpu": 4, "mem": 0.2})
    player = Player(of, workers=8, tasks=6)
    player.at(0.2, ev.LimitChanged(0.2, "gpu", 4, 6, "ada"))
    player.crashes = [0.5, 1.7]
    while not player.finished:
        player.step()
        assert snapshot(refold(player).state)["resources"] == snapshot(player.scheduler.state)["resources"]
    assert in_use(player, "gpu") == 6
    assert player.finished == "done"


def test_the_time_is_counted_as_a_wait_for_resources() -> None:
    player = Player(definition(agent("a", uses={"gpu": 1}), resources={"gpu": 1}), workers=8, tasks=3).play()
    waits = [event.waits for event in player.log if isinstance(event, ev.StepStarted)]
    assert waits == [None, {"resources": 1.0, "pool": 0.0}, {"resources": 2.0, "pool": 0.0}]


def test_a_sub_workflow_shares_the_resources_of_its_run() -> None:
    """The limit of the run counts where it has one, else the lowest of its sub-workflows."""
    inner = definition(agent("scan", uses={"gpu": 1, "disk": 1}), resources={"gpu": 1, "disk": 2}, name="inner")
    agents = {name: Agent(name, SubWorkflow("inner.yaml")) for name in ("one", "two", "three", "four")}
    outer = Definition("outer", agents, limits=Limits(resources={"gpu": 3}))
    player = Player(outer, workers=20, nested=dict.fromkeys(agents, inner))
    assert player.scheduler.state.program.resources() == {"gpu": 3, "disk": 2}
    player.play()
    assert player.starts("scan") == [0.0, 0.0, 1.0, 1.0]


def test_a_resource_without_a_limit_limits_nothing() -> None:
    """`check` refuses such a file; a definition that is made in code may be like that."""
    of = definition(agent("a", uses={"gpu": 1}), resources={})
    assert Player(of, workers=8, tasks=3).play().starts("a") == [0.0, 0.0, 0.0]
    assert not Scheduler(Program(of)).never_fitting()

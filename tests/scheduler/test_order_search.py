"""The search for an order: never worse than its beginning, and what it reports is what the scheduler takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import exp
from pathlib import Path
from statistics import geometric_mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdeck.insight.forecast import forecast
from agentdeck.scheduler import events as ev
from agentdeck.scheduler.fold import Fold
from agentdeck.scheduler.order_search import OrderSearch, search_order, spread
from agentdeck.scheduler.program import Program
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Agent, Approve, Definition, Join, Repeat, Timeout
from tests.scheduler.driver import Player, agent, definition, prompt

DATA = Path(__file__).parents[1] / "data"
FREE = Timeout(attempt=None)
#: With two workers the longest remaining path first takes 22 s, as d takes one of them for 8 s; 17.5 is best.
NEEDS: Mapping[str, Sequence[str]] = {"a": [], "b": [], "c": ["b"], "d": [], "e": ["b"], "f": ["c", "e"]}
SECONDS = {"a": 2.5, "b": 2.0, "c": 7.0, "d": 8.0, "e": 8.0, "f": 7.0}


def rounds(count: int) -> Callable[[], bool]:
    """True so many times."""
    left = [True] * count
    return lambda: bool(left) and left.pop()


def workflow(needs: Mapping[str, Sequence[str]] = NEEDS) -> Definition:
    return definition(*(agent(name, *above, timeout=FREE) for name, above in needs.items()))


def samples(seconds: Mapping[str, float] = SECONDS) -> dict[str, list[float]]:
    """Three attempts of each agent that differ by a hundredth."""
    return {name: [0.99 * taken, taken, 1.01 * taken] for name, taken in seconds.items()}


@st.composite
def timed_graphs(draw: st.DrawFn) -> tuple[dict[str, list[str]], dict[str, float]]:
    """Up to 14 agents and their seconds, of which no two sums are the same."""
    needs: dict[str, list[str]] = {}
    for i in range(draw(st.integers(1, 14))):
        needs[f"a{i}"] = draw(st.lists(st.sampled_from(list(needs)), unique=True, max_size=3)) if needs else []
    return needs, {name: draw(st.integers(0, 9)) + 0.5 ** (i + 3) for i, name in enumerate(needs)}


@settings(max_examples=60, deadline=None)
@given(timed_graphs(), st.integers(1, 4))
def test_what_a_search_reports_is_what_the_scheduler_takes(
    of: tuple[dict[str, list[str]], dict[str, float]], workers: int
) -> None:
    needs, seconds = of
    search = OrderSearch(needs, seconds, workers, "run")
    assert forecast(workflow(needs), workers, 1, seconds).seconds == pytest.approx(search.first)
    search.search(rounds(12))
    assert search.bound * (1 - 1e-9) <= search.makespan <= search.first
    for place, name in enumerate(search.order):
        assert set(needs[name]) <= set(search.order[:place])
    assert len(search.order) == len(needs)
    # The forecast is the scheduler, which starts no step before its needs and none without a free worker.
    found = forecast(workflow(needs), workers, 1, seconds, search.order)
    assert found.seconds == pytest.approx(search.makespan)


def test_a_search_finds_what_the_longest_path_first_misses() -> None:
    search = OrderSearch(NEEDS, SECONDS, 2, "run")
    assert search.first == search.makespan == 22.0
    search.search(rounds(30))
    assert search.makespan == 17.5
    assert forecast(workflow(), 2, 1, SECONDS, search.order).seconds == search.makespan


def test_ten_rounds_come_close_to_the_best_known_schedules_of_recorded_graphs() -> None:
    ratios = []
    for name, known in json.loads((DATA / "dags-bounds.json").read_text()).items():
        nodes = json.loads((DATA / "dags" / f"{name}.json").read_text())["nodes"]
        needs, seconds = {n["id"]: n["deps"] for n in nodes}, {n["id"]: n["duration"] for n in nodes}
        for workers, makespans in known.items():
            search = OrderSearch(needs, seconds, int(workers), "run")
            search.search(rounds(10))
            assert search.makespan <= makespans["fifo"] * 1.000001
            ratios.append(search.makespan / makespans["best_known"])
    assert geometric_mean(ratios) <= 1.001
    assert max(ratios) <= 1.01


def test_the_same_seed_finds_the_same_order_in_as_many_rounds() -> None:
    needs = {f"a{i}": [f"a{k}" for k in range(i) if (i * 7 + k * 3) % 5 == 0] for i in range(24)}
    seconds = {name: 1.0 + i * 37 % 11 + 0.5**i for i, name in enumerate(needs)}
    first, second = (OrderSearch(needs, seconds, 3, "run") for _ in range(2))
    first.search(rounds(40))
    second.search(rounds(40))
    assert first.order == second.order
    assert first.schedules == second.schedules > 40


def test_a_search_ends_where_no_order_can_be_better() -> None:
    chain = {"a": [], "b": ["a"], "c": ["b"]}
    search = OrderSearch(chain, dict.fromkeys(chain, 5.0), 4, "run")
    search.search(lambda: pytest.fail("it went on"))
    assert search.schedules == 1
    assert search.order == ("a", "b", "c")


def test_a_launch_finds_an_order_that_takes_what_it_says() -> None:
    found = search_order(workflow(), samples(), 2, "run", rounds(30))
    assert (found.seconds, found.path_seconds, found.reason) == (17.5, 22.0, "")
    assert forecast(workflow(), 2, 1, SECONDS, found.agents).seconds == found.seconds
    none = search_order(workflow(), samples(), 2, "run", rounds(0))
    assert none == ((), 22.0, 22.0, "no faster order was found")


def test_an_order_is_searched_only_where_it_can_gain() -> None:
    def reason(of: Definition, seen: Mapping[str, Sequence[float]], workers: int = 2) -> str:
        return search_order(of, seen, workers, "run", rounds(30)).reason

    assert reason(workflow(), samples(), workers=6) == "no order is much faster"
    short = {name: taken / 1000 for name, taken in SECONDS.items()}
    assert reason(workflow(), samples(short)) == "no order is much faster"
    vary = {name: [0.7 * taken, taken, 1.3 * taken] for name, taken in SECONDS.items()}
    assert reason(workflow(), vary) == "durations vary too much from run to run (σ 0.31)"
    assert reason(workflow(), {}) == "fewer than 3 attempts of a were measured"
    large = {f"a{i}": list[str]() for i in range(1001)}
    assert reason(workflow(large), {}) == "the workflow has more than 1,000 agents"
    assert reason(replace(workflow(), mode="sequential"), samples()) == "the mode is sequential"


def test_an_order_that_gains_less_than_durations_vary_is_not_used() -> None:
    needs = {"a": [], "b": [], "c": [], "d": ["a"], "e": ["a"], "f": [], "g": ["b", "f"]}
    seconds = {"a": 18.0, "b": 10.0, "c": 15.0, "d": 21.0, "e": 26.0, "f": 27.0, "g": 23.0}
    steady = search_order(workflow(needs), samples(seconds), 2, "run", rounds(30))
    assert steady.path_seconds == 72.0
    assert steady.seconds == pytest.approx(71.0)
    vary = {name: [0.9 * taken, taken, 1.1 * taken] for name, taken in seconds.items()}
    found = search_order(workflow(needs), vary, 2, "run", rounds(30))
    assert found.agents == ()
    assert found.reason == "the order found gains 1.4%, too little for durations that vary (σ 0.10)"


@pytest.mark.parametrize(
    "odd",
    [
        prompt("f", "c", "e"),
        agent("f", "c", "e", when="1 > 2"),
        agent("f", "c", "e", each="[1, 2]"),
        agent("f", "c", "e", repeat=Repeat("1 > 2", 3)),
        agent("f", "c", "e", join=Join("any")),
        agent("f", "c", "e", join=Join(within=3.0)),
        Agent("f", Approve("Really?"), needs=("c", "e")),
    ],
)
def test_no_order_is_searched_where_the_run_decides(odd: Agent) -> None:
    of = definition(*(odd if name == "f" else agent(name, *above) for name, above in NEEDS.items()))
    reason = search_order(of, samples(), 2, "run", rounds(1)).reason
    assert reason == "when and how often f runs, or for how long, is known only in the run"


def test_no_order_is_searched_where_agents_have_priorities() -> None:
    of = definition(*(agent(name, *NEEDS[name]) for name in "abcde"), agent("f", "c", "e", priority="low"))
    assert search_order(of, samples(), 2, "run", rounds(1)).reason == "the agents have different priorities"


def test_the_spread_of_long_agents_counts_most() -> None:
    wide, narrow = [exp(-0.5), exp(0.5)], [10 * exp(-0.01), 10 * exp(0.01)]
    assert spread([wide], [1.0]) == pytest.approx(0.5 * 2**0.5)
    assert spread([wide, narrow], [1.0, 0.0]) == pytest.approx(0.5 * 2**0.5)
    assert spread([wide, narrow], [0.01, 10.0]) == pytest.approx(0.0267, abs=0.001)
    assert spread([[0.0, 0.0]], [0.0]) == 0.0


def test_a_run_starts_its_steps_in_the_order_that_its_first_event_has() -> None:
    order = ("b", "a", "e", "c", "d", "f")
    player = Player(workflow(), workers=1, order=order).play()
    assert tuple(event.step for event in player.log if isinstance(event, ev.StepStarted)) == order
    fold = Fold(Program(workflow()), run="r", workers=1)
    fold.apply(player.log[0])
    assert [rule.rank for rule in fold.state.program.rules] == [1.0, 0.0, 3.0, 4.0, 2.0, 5.0]


def test_a_change_of_workers_ends_the_searched_order() -> None:
    wide = definition(*(agent(name, timeout=FREE) for name in "abcde"), agent("f", "e", timeout=FREE))
    player = Player(wide, workers=1, order=tuple("dcbaef"))
    player.at(1.5, ev.LimitChanged(1.5, "workers", 1, 1))
    player.play()
    started = [event.step for event in player.log if isinstance(event, ev.StepStarted)]
    assert started == list("dceabf"), "c runs while workers is changed; then e has the longest path"
    view = RunView(wide)
    view.apply(1, player.log[0])
    assert view.order == list("dcbaef")
    for seq, event in enumerate(player.log[1:], 2):
        view.apply(seq, event)
    assert view.order == []


def test_resources_are_shared_by_a_schedule_and_bound_it() -> None:
    needs: dict[str, list[str]] = {name: [] for name in "abcd"}
    uses, seconds = dict.fromkeys("abc", (("gpu", 1),)), dict.fromkeys("abcd", 4.0)
    search = OrderSearch(needs, seconds, 4, "run", uses, {"gpu": 1, "unused": 0})
    assert search.makespan == search.bound == 12.0
    assert OrderSearch(needs, seconds, 4, "run", uses, {"gpu": 2}).makespan == 8.0

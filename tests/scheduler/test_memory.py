"""What an ended task leaves in memory, without the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from agentdeck.scheduler import events as ev
from agentdeck.scheduler.state import Step, Task
from agentdeck.workflow.model import Join, Timeout
from tests.scheduler.driver import Player, agent, definition


class Large(list[int]):
    """A result that can be observed."""


@pytest.fixture(autouse=True)
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive(kind: type) -> int:
    return sum(type(one) is kind for one in gc.get_objects())


@pytest.mark.parametrize("timeout", [Timeout(), Timeout(queue=1e6, total=1e6)])
def test_results_go_when_their_task_ends(timeout: Timeout) -> None:
    graph = definition(
        agent("a", timeout=timeout), agent("b", "a", timeout=timeout), agent("c", "b", each="a", timeout=timeout)
    )
    made: dict[str, weakref.ref[Large]] = {}

    def plan(started: ev.StepStarted) -> tuple[float, object]:
        result = Large([1, 2])
        made[f"{started.task}/{started.step}"] = weakref.ref(result)
        return 1.0, result

    player = Player(graph, plan=plan, tasks=3, workers=1)
    while not player.finished:
        player.step()
        player.log.clear()
        ended = {name for name in made if name.partition("/")[0] not in player.scheduler.state.tasks}
        assert not [name for name in ended if made[name]() is not None]
    assert len(made) == 12


def test_ended_tasks_go_without_the_collector() -> None:
    before = alive(Task), alive(Step)
    graph = definition(agent("a"), agent("b", "a"), agent("c", "b", each="[1, 2]"))
    player = Player(graph, tasks=50, workers=4).play()
    assert (alive(Task), alive(Step)) == before
    assert player.finished == "done"


def test_a_log_with_needs_to_cancel_in_ended_tasks_resumes() -> None:
    graph = definition(agent("a"), agent("b"), agent("c", "a", "b", join=Join("any", rest="cancel")))
    player = Player(graph, plan=lambda started: (2.0 if started.step == "b" else 1.0, None), tasks=3, workers=2)
    player.crashes = [3.5, 5.5]
    assert player.play().finished == "done"

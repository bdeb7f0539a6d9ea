"""A place that is out of reach holds its steps, and nothing else; they go on when it is there again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentdeck.agents.verb import AttemptContext
from agentdeck.cli.limits import held_up
from agentdeck.cli.progress import PlainNarrator
from agentdeck.engine import launch
from agentdeck.engine.resume import Resume, resume
from agentdeck.engine.run_control import RunControl
from agentdeck.insight.attention import attention_counts, attention_items
from agentdeck.insight.limits import limits
from agentdeck.insight.resources import resource_waits
from agentdeck.insight.summary import summary
from agentdeck.insight.what_if import predict_change, snapshot_run
from agentdeck.insight.why import explain
from agentdeck.scheduler import events as ev
from agentdeck.store.log_follower import EventBatch
from agentdeck.store.reader import Reader
from agentdeck.views.run_view import RunView
from agentdeck.workflow.loader import loads
from agentdeck.workflow.model import Definition
from tests.engine.test_virtual import Played, agents
from tests.places.far import DECK, FarPlace, far_installed
from tests.virtual_clock import LoopClock, virtual

GONE = "tcp://10.0.0.5:8786 does not answer"
FAR = 'python: "tests.places.far:nap", place: big'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with far_installed(tmp_path, monkeypatch):
        yield tmp_path


def out_of_reach(since: float, until: float, looks: Callable[[RunView], None] | None = None) -> Any:
    """Steers a run: its place is out of reach from then until then. `looks` is called just before it is back."""

    async def steer(control: RunControl) -> None:
        await anyio.sleep(since)
        (place,) = FarPlace.made
        place.run.hold(GONE)
        place.run.hold("this is known")
        await anyio.sleep(until - since - 0.5)
        assert control.engine is not None
        if looks is not None:
            looks(control.engine.view)
        await anyio.sleep(0.5)
        place.run.release()
        place.run.release()

    return steer


def play(folder: Path, definition: Definition, steer: Any, **more: Any) -> Played:
    return Played(definition, folder=folder, steer=steer, **more)


def places(played: Played) -> list[tuple[float, str]]:
    return [
        (round(e.at - played.log[0].at, 6), e.place)
        for e in played.of(ev.PlaceClosed) + played.of(ev.PlaceOpened)
    ]


def test_its_steps_wait_and_all_others_go_on(folder: Path) -> None:
    of = agents(f"first: {{ {FAR} }}", f"far: {{ {FAR}, needs: first }}", "near: { simulate: 5s, needs: first }",
                "last: { simulate: 5s, needs: near }")  # fmt: skip
    seen: list[RunView] = []
    played = play(folder, of, out_of_reach(0.5, 120.5, seen.append))
    assert played.outcome.state == "done"
    assert places(played) == [(0.5, "big"), (120.5, "big")]
    assert played.starts("first") == [0.0], "what runs there goes on"
    assert played.starts("near") == [1.0]
    assert played.starts("last") == [6.0]
    assert played.starts("far") == [120.5]
    (started,) = [e for e in played.of(ev.StepStarted) if e.step == "far"]
    assert started.waits is not None
    assert started.waits["place"] == pytest.approx(119.5)
    assert played.outcome.view.agents["far"].waiting["place"] == pytest.approx(119.5)
    assert played.outcome.view.closed_places == {}


def test_where_it_is_seen_that_they_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = agents(f"far: {{ {FAR} }}", "near: { simulate: 5s }")

    def look(view: RunView) -> None:
        found = explain(view, of, "1", "far", view.now)
        assert "(20m00s)" in explain(view, of, "1", "far", view.closed_places["big"].since + 1200).text
        assert (found.state, found.reason) == ("ready", "place")
        assert "the place big is out of reach since " in found.text
        assert f": {GONE}; it starts when it is there again" in found.text
        (row,) = [one for one in limits(view, view.now, None, resource_waits(view)) if one.name == "place.big"]
        assert (row.value, row.waiting) == (None, 1)
        assert GONE in row.note
        assert attention_counts(view, view.now).places == 1
        assert ("place", "", "big") in list(attention_items(view, view.now))
        assert summary(view).closed_places["big"].why == GONE
        assert any(GONE in line for line in held_up(view))
        assert "big is out of reach" in predict_change(snapshot_run(view, of), "workers", 9)
        looked.append(1)

    looked: list[int] = []
    monkeypatch.setattr(FarPlace, "holds", GONE)
    played = play(folder, of, out_of_reach(10.0, 60.0, look))
    assert played.starts("far") == [60.0]
    assert looked
    said: list[str] = []
    PlainNarrator(of, None, say=said.append).observe(EventBatch("", 1, played.log))
    assert [line for line in said if "place" in line] == [
        f"the place big is out of reach, its steps wait: {GONE}",
        "the place big is there again",
    ]
    texts = [entry.text for entry in played.outcome.view.timeline if entry.kind == "place"]
    assert texts == [f"big is out of reach: {GONE}", "big is there again"]


def test_why_names_what_a_step_of_a_sub_workflow_waits_for(folder: Path) -> None:
    """Also where the run has an agent of the same name, with other limits."""
    (folder / "deck.yaml").write_text(DECK.replace("far }", "far, slots: 1 }"))
    (folder / "inner.yaml").write_text(
        f"agentdeck: 1\nname: inner\nagents:\n  far: {{ {FAR} }}\n"
        f"  one: {{ {FAR}, with: {{ n: 20 }} }}\n  two: {{ {FAR} }}\n"
        "  single: { each: '[1, 2]', simulate: 8s, max_parallel: 1 }\n"
    )
    (folder / "middle.yaml").write_text(
        "agentdeck: 1\nname: middle\nagents: { deep: { workflow: inner.yaml } }\n"
    )
    (folder / "lone.yaml").write_text(f"agentdeck: 1\nname: lone\nagents: {{ it: {{ {FAR} }} }}\n")
    of = agents("check: { workflow: inner.yaml }", "far: { workflow: middle.yaml }", "two: { simulate: 9s }",
                "first: { simulate: 2s }", "lone: { workflow: lone.yaml, needs: first }")  # fmt: skip
    files = {"check": "inner", "far": "middle", "far/deep": "inner", "lone": "lone"}
    nested = {path: loads((folder / f"{file}.yaml").read_text()).definition for path, file in files.items()}
    looked: list[int] = []

    def look(view: RunView) -> None:
        gone = f": {GONE}; it starts when it is there again"
        for task in ("1/check", "1/far/deep"):
            found = explain(view, of, task, "two", view.now, nested)
            assert (found.state, found.reason, found.text.endswith(gone)) == ("ready", "place", True), found
        found = explain(view, of, "1/check", "single[1]", view.now, nested)
        assert (found.reason, found.text.partition("; ")[2]) == (
            "max_parallel",
            "max_parallel of single reached (1/1)",
        )
        found = explain(view, of, "1", "lone", view.now, nested)
        assert ": it of task 1/lone is ready for " in found.text
        assert found.text.endswith(gone)
        looked.append(1)

    played = play(folder, of, out_of_reach(1.0, 6.0, look))
    assert looked
    assert played.outcome.state == "done"


def test_what_it_loses_meanwhile_is_made_again_when_it_is_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loses(work: AttemptContext) -> bool:
        if work.attempt == 1:
            FarPlace.made[0].run.hold(GONE)
        return work.attempt == 1

    monkeypatch.setattr(FarPlace, "loses", staticmethod(loses))
    played = play(folder, agents(f"far: {{ {FAR}, retry: 1 }}"), out_of_reach(1.0, 100.0))
    assert played.outcome.state == "done"
    assert played.starts("far") == [0.0, 100.0]
    assert [e.attempt for e in played.of(ev.AttemptLost)] == [1]


def test_a_run_in_which_all_wait_for_it_does_not_count_as_stalled(folder: Path) -> None:
    """Not even where another step asks and nobody is there to answer: the place may come back."""
    of = agents(
        f"far: {{ {FAR}, needs: slow }}", "slow: { simulate: 2s }", "ask: { approve: { ask: 'Really?' } }"
    )
    starts: list[float] = []

    async def main() -> launch.Outcome:
        wanted = launch.Launch(of, folder, wait=False)
        control = RunControl("eva")
        async with anyio.create_task_group() as group:
            group.start_soon(out_of_reach(1.0, 200.0), control)
            outcome = await launch.run(wanted, launch.Watch(control=control), LoopClock())
            starts.append(outcome.view.now)
        return outcome

    outcome = anyio.run(main, backend_options=virtual())
    assert outcome.state == "drained"
    assert outcome.view.agents["far"].counts["done"] == 1
    assert outcome.view.now >= 201.0


def test_a_queue_timeout_names_it(folder: Path) -> None:
    of = agents(f"far: {{ {FAR}, needs: slow, timeout: {{ queue: 2m }} }}", "slow: { simulate: 2s }")
    played = play(folder, of, out_of_reach(1.0, 300.0))
    (failed,) = played.of(ev.StepFailed)
    assert failed.at - played.log[0].at == 122.0
    assert failed.fault.message == (f"waited 2m for the place big: it is out of reach: {GONE} (queue timeout)")


def test_a_queue_timeout_names_the_slots(folder: Path) -> None:
    (folder / "deck.yaml").write_text(DECK.replace("far }", "far, slots: 1 }"))
    of = agents(f"far: {{ {FAR}, with: {{ n: 240 }}, timeout: {{ attempt: 1h, queue: 2m }} }}",
                f"wide: {{ {FAR}, timeout: {{ queue: 2m }} }}")  # fmt: skip
    played = play(folder, of, None)
    (failed,) = played.of(ev.StepFailed)
    assert failed.fault.message == "waited 2m for the place big: all of its slots are in use (1) (queue timeout)"


def test_its_slots_are_not_kept_while_it_is_out_of_reach(folder: Path) -> None:
    """Steps that wait for a slot wait on; a resource that they use too is free for others."""
    (folder / "deck.yaml").write_text(DECK.replace("far }", "far, slots: 1 }"))
    of = loads(
        "agentdeck: 1\nname: w\nlimits: { gpu: 1 }\nagents:\n"
        f"  one: {{ {FAR}, with: {{ n: 3 }} }}\n"
        f"  two: {{ {FAR}, uses: {{ gpu: 1 }} }}\n"
        "  near: { simulate: 2s, uses: { gpu: 1 }, needs: wait }\n"
        "  wait: { simulate: 4s }\n"
    ).definition
    played = play(folder, of, out_of_reach(1.0, 50.0))
    assert (played.starts("one"), played.starts("near"), played.starts("two")) == ([0.0], [4.0], [50.0])
    (started,) = [e for e in played.of(ev.StepStarted) if e.step == "two"]
    assert started.waits == {"place": 50.0, "pool": 0.0}


@pytest.mark.anyio
async def test_it_counts_as_open_after_a_resume(folder: Path) -> None:
    of = agents("slow: { simulate: 0.1s }", f"far: {{ {FAR}, needs: slow, with: {{ n: 0 }} }}")
    db, control = folder / "runs.db", RunControl("eva")

    async def drain() -> None:
        while not FarPlace.made or control.engine is None:  # noqa: ASYNC110 - nothing says so
            await anyio.sleep(0.01)
        FarPlace.made[0].run.hold(GONE)
        while control.engine.view.agents["slow"].counts["done"] == 0:  # noqa: ASYNC110
            await anyio.sleep(0.01)
        await anyio.sleep(0.01)  # shorter waits are not recorded
        control.drain()

    async with anyio.create_task_group() as group:
        group.start_soon(drain)
        outcome = await launch.run(launch.Launch(of, folder, db=db), launch.Watch(control=control))
    assert outcome.state == "drained"
    assert list(outcome.view.closed_places) == ["big"]
    again = await resume(Resume(outcome.run, db))
    assert again.state == "done"
    assert again.view.closed_places == {}
    with closing(Reader(db)) as reader:
        (started,) = [
            e for _, e in reader.events(outcome.run) if isinstance(e, ev.StepStarted) and e.step == "far"
        ]
    assert "place" in (started.waits or {})

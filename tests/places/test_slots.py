"""Slots of places are limits like any others: refused where they cannot be, part of a plan, changed in a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner

from agentdeck import RunBlocked, UsageError, Workflow
from agentdeck.cli.plan import plan
from agentdeck.engine.run_control import RunControl
from agentdeck.errors import InvalidFile
from agentdeck.insight.why import explain
from agentdeck.scheduler import events as ev
from agentdeck.workflow.check import check
from agentdeck.workflow.deck import load_deck
from tests.engine.test_virtual import Played, agents
from tests.places.far import DECK, far_installed

FAR = 'python: "tests.places.far:nap", place: big'
WORKFLOW = "agentdeck: 1\nname: w\nagents:\n  a: { python: 'os:getcwd', place: PLACE }\n"


def write(folder: Path, slots: int, place: str = "big") -> Path:
    (folder / "deck.yaml").write_text(f"agentdeck: 1\nplaces:\n  big: {{ type: process, slots: {slots} }}\n")
    file = folder / "w.yaml"
    file.write_text(WORKFLOW.replace("PLACE", place))
    return file


def test_a_plan_counts_the_slots(tmp_path: Path) -> None:
    file = write(tmp_path, 2)
    done = CliRunner().invoke(plan, [str(file), "--tasks", "100", "--db", str(tmp_path / "a.db"), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["resources"]["place.big"]["agents"] == {"a": 1}
    assert document["lower_bound_seconds"] == 50.0


def test_a_deck_without_slots_at_a_place_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 0)
    with pytest.raises(InvalidFile, match=r"deck\.yaml:3:32: 0 is too small; the least is 1"):
        load_deck(tmp_path / "deck.yaml")


def test_a_place_that_the_deck_of_the_workflow_does_not_have(tmp_path: Path) -> None:
    """The deck is the one beside the workflow, from wherever it is checked."""
    folder = tmp_path / "flows"
    folder.mkdir()
    (issue,) = check(write(folder, 2, "bigg"))
    assert str(issue).endswith("w.yaml:4:29: the deck has no place bigg; did you mean big?")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with far_installed(tmp_path, monkeypatch):
        (tmp_path / "deck.yaml").write_text(DECK.replace("far }", "far, slots: 2 }"))
        yield tmp_path


def test_a_place_without_slots_starts_nothing_until_it_has_some(folder: Path) -> None:
    far = [f"far{n}: {{ {FAR}, with: {{ n: 10 }} }}" for n in range(4)]
    of = agents(*far, "near: { simulate: 5s, needs: slow }", "slow: { simulate: 20s }")
    reasons: list[tuple[str, str]] = []

    async def steer(control: RunControl) -> None:
        await anyio.sleep(5)
        control.limit("place.big", 2, 0)
        await anyio.sleep(95)
        assert control.engine is not None
        view = control.engine.view
        assert view.definition is not None
        for name in ("far2", "far3"):
            found = explain(view, view.definition, "1", name, view.now)
            reasons.append((found.reason, found.text))
        control.limit("place.big", 0, 1)

    played = Played(of, folder=folder, steer=steer)
    assert played.outcome.state == "done"
    ended = {e.step: round(e.at - played.log[0].at, 6) for e in played.of(ev.StepSucceeded)}
    assert (ended["far0"], ended["far1"]) == (10.0, 10.0), "what runs there goes on"
    assert played.starts("near") == [20.0], "others do too"
    assert [played.starts(name) for name in ("far2", "far3")] == [[100.0], [110.0]]
    assert [reason for reason, _ in reasons] == ["place", "place"]
    for _, text in reasons:
        assert "the place big has no slots at present: it starts when place.big is raised to 1" in text
    waited = [e.waits["place"] for e in played.of(ev.StepStarted) if e.step == "far2"]
    assert waited == pytest.approx([100.0])


def test_a_queue_timeout_says_that_its_slots_were_taken_away(folder: Path) -> None:
    of = agents("slow: { simulate: 2s }", f"far: {{ {FAR}, needs: slow, timeout: {{ queue: 1h }} }}")

    async def steer(control: RunControl) -> None:
        control.limit("place.big", 2, 0)

    (failed,) = Played(of, folder=folder, steer=steer).of(ev.StepFailed)
    assert failed.fault.message == "waited 1h for the place big: its slots were set to 0 (queue timeout)"


@pytest.mark.anyio
async def test_a_live_run_is_told_its_slots(folder: Path) -> None:
    gate, file = folder / "gate", folder / "w.yaml"
    agent = f"{{ python: 'tests.places.far:wait_for', place: big, with: {{ file: '{gate}' }} }}"
    file.write_text(f"agentdeck: 1\nname: w\nagents: {{ a: {agent} }}\n")
    async with Workflow.from_file(file).start(db=folder / "runs.db", tasks=[{}] * 3) as live:
        with pytest.raises(UsageError, match=r"place\.big: .*out of range"):
            await live.set_limit("place.big", -1)
        await live.set_limit("place.big", 0)
        gate.touch()
        with pytest.raises(
            RunBlocked, match=r"the limit of place\.big is 0, and 1 is needed: 1 step waits.*place\.big=1"
        ):
            await live.result()

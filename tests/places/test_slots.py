"""Slots of places are limits like any others: refused where they cannot be, and part of a plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from agentdeck.cli.plan import plan
from agentdeck.errors import InvalidFile
from agentdeck.workflow.check import check
from agentdeck.workflow.deck import load_deck

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

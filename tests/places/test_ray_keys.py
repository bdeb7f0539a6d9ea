"""What a deck says of a place on a Ray cluster. Ray itself is not needed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from agentdeck.workflow.check import check
from agentdeck.workflow.deck import load_deck

KEYS = 'crew: { type: ray, address: "10.0.0.6:6379", slots: 8, resources: { GPU: 1, TPU: 0.5 } }'


def deck(folder: Path, place: str) -> list[str]:
    file = folder / "deck.yaml"
    file.write_text(f"agentdeck: 1\nplaces:\n  {place}\n")
    return [str(issue).removeprefix(f"{file}:") for issue in check(file)]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


def test_the_keys_of_the_place(tmp_path: Path, installed: None) -> None:
    assert deck(tmp_path, KEYS) == []
    place = load_deck(tmp_path / "deck.yaml").places["crew"]
    assert place.slots == 8
    assert place.options == {"address": "10.0.0.6:6379", "resources": {"GPU": 1, "TPU": 0.5}}


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ("slots: 3", "3:9: address is missing"),
        ('address: "10.0.0.6:6379"', "3:9: slots is missing"),
        ('address: "10.0.0.6:6379", slots: 0', "3:55: 0 is too small; the least is 1"),
        (
            "address: head, slots: 3",
            "3:31: 'head' is not the address of a Ray head; host:port, such as 10.0.0.6:6379",
        ),
        ('address: "head:70000", slots: 3', "3:31: 'head:70000' is not the address of a Ray head"),
        ('address: "ray://head:10001", slots: 3', "3:31: the protocol of Ray's client (ray://) is not used here"),
        (
            'address: "h:1", slots: 3, resource: { GPU: 1 }',
            "3:48: resource is not a key here; did you mean resources?",
        ),
        ('address: "h:1", slots: 3, resources: { GPU: 0 }', "3:66: "),
        ('address: "h:1", slots: 3, resources: { GPU: -1 }', "3:66: "),
        ('address: "h:1", slots: 3, resources: { GPU: many }', "3:66: "),
        ('address: "h:1", slots: 3, resources: {}', "3:59: "),
        ('address: "h:1", slots: 3, code: shipped', "3:54: 'shipped' is not one of path, ship"),
    ],
)
def test_faults_have_a_place_and_a_fix(tmp_path: Path, installed: None, more: str, what: str) -> None:
    assert what in "\n".join(deck(tmp_path, f"crew: {{ type: ray, {more} }}"))


def test_ray_that_is_missing_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else found(name))
    (what,) = deck(tmp_path, KEYS)
    assert what == "3:17: Ray is not installed; pip install 'agentdeck[ray]'"

"""The workflows that the first screen lists."""

from __future__ import annotations

from pathlib import Path

from agentdeck.console.library import HERE, Library


def test_a_deck_with_nothing_but_places_is_no_workflow(tmp_path: Path) -> None:
    (tmp_path / "deck.yaml").write_text("agentdeck: 1\nplaces: { crew: { type: process } }\n")
    (tmp_path / "flow.yaml").write_text("agentdeck: 1\nname: flow\nagents: { a: { simulate: 1ms } }\n")
    library = Library(tmp_path)
    assert library.scan()
    listed = [entry for entry in library.entries.values() if entry.group == HERE]
    assert [(entry.path.name, entry.name, entry.faults) for entry in listed] == [("flow.yaml", "flow", 0)]
    assert not any(path.name == "deck.yaml" for path in library.entries)

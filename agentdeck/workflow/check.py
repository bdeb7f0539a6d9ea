"""Everything that can be known of a workflow file, or of a deck, before anything runs."""

from __future__ import annotations

from pathlib import Path

from agentdeck.errors import InvalidFile, Issue
from agentdeck.workflow.bindings import check_python
from agentdeck.workflow.deck import NAME, load_deck
from agentdeck.workflow.loader import load


def check(path: Path | str) -> list[Issue]:
    """All faults and warnings, in the order of the file; none is a file that can run."""
    try:
        if Path(path).name == NAME:
            load_deck(Path(path))
            return []
        loaded = load(path)
    except InvalidFile as error:
        return list(error.issues)
    folder = loaded.definition.folder or Path(path).resolve().parent
    issues = check_python(loaded.definition, folder, loaded.functions, loaded.positions, str(path))
    return sorted([*loaded.warnings, *issues], key=lambda issue: issue[:3])

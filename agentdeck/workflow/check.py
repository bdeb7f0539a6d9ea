"""Everything that can be known of a workflow file, or of a deck, before anything runs."""

from __future__ import annotations

from pathlib import Path

from agentdeck.errors import InvalidFile, Issue
from agentdeck.workflow.bindings import check_python
from agentdeck.workflow.deck import NAME, deck_for, load_deck
from agentdeck.workflow.loader import Loaded, load
from agentdeck.workflow.shape import meant


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
    return sorted([*loaded.warnings, *issues, *_limits(loaded, folder, str(path))], key=lambda issue: issue[:3])


def _limits(loaded: Loaded, folder: Path, file: str) -> list[Issue]:
    """A fault for limits of a provider that the deck does not have. Nothing is known without a deck."""
    try:
        deck = deck_for(folder)
    except InvalidFile as error:
        return list(error.issues)
    if deck.file is None:
        return []
    issues = []
    for name in loaded.definition.limits.providers:
        if name not in deck.providers:
            line, column = loaded.positions.get(("limits", name), (0, 0))
            known = f"it has {', '.join(deck.providers)}" if deck.providers else "it has none"
            fix = meant(name, deck.providers) or known
            what = f"limits: {name} is not a provider of {deck.file}"
            issues.append(Issue(file, line, column, what, fix))
    return issues

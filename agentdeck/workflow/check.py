"""All checks of a workflow file or a deck that are possible before a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agentdeck.errors import InvalidFile, Issue
from agentdeck.workflow.code_check import check_code
from agentdeck.workflow.deck import NAME, Deck, deck_for, load_deck
from agentdeck.workflow.loader import Loaded, load
from agentdeck.workflow.place_types import place_faults
from agentdeck.workflow.secret_references import secret_uses
from agentdeck.workflow.wording import likely_fix
from agentdeck.workflow.yaml_source import read_file


def check(path: Path | str) -> list[Issue]:
    """All faults and warnings, in the order of the file; empty for a file without any."""
    try:
        if Path(path).name == NAME:
            return _of_deck(load_deck(Path(path)), path)
        loaded = load(path)
    except InvalidFile as error:
        return list(error.issues)
    folder = loaded.definition.folder or Path(path).resolve().parent
    issues = check_code(loaded.definition, folder, loaded.functions, loaded.positions, str(path))
    issues += _against_deck(loaded, folder, str(path))
    return sorted([*loaded.warnings, *issues], key=lambda issue: issue[:3])


def _of_deck(deck: Deck, path: Path | str) -> list[Issue]:
    """Faults of places, which only show when they are used."""
    source = read_file(Path(path))
    for name, place in deck.places.items():
        for key, what, fix in place_faults(place):
            source.fault(("places", name, key), what, fix)
    return source.issues


def _against_deck(loaded: Loaded, folder: Path, file: str) -> list[Issue]:
    """Faults for names in the workflow that the deck does not have."""
    try:
        deck = deck_for(folder)
    except InvalidFile as error:
        return list(error.issues)
    return [*_limits(loaded, deck, file), *_secrets(loaded, deck, file)]


def _limits(loaded: Loaded, deck: Deck, file: str) -> Iterator[Issue]:
    """Limits of providers that the deck does not have. Without a deck, no provider is known."""
    for name in loaded.definition.limits.providers if deck.file is not None else ():
        if name not in deck.providers:
            line, column = loaded.positions.get(("limits", name), (0, 0))
            known = f"it has {', '.join(deck.providers)}" if deck.providers else "it has none"
            fix = likely_fix(name, deck.providers) or known
            what = f"limits: {name} is not a provider in {deck.file}"
            yield Issue(file, line, column, what, fix)


def _secrets(loaded: Loaded, deck: Deck, file: str) -> Iterator[Issue]:
    for use in secret_uses(loaded.definition):
        if use.name not in deck.secrets:
            line, column = loaded.positions.get(use.path, (0, 0))
            fix = likely_fix(use.name, deck.secrets) or f"add it to secrets in {NAME}: {use.name}"
            yield Issue(file, line, column, f"the deck has no secret {use.name}", fix)

"""`check`: report every fault of workflow files and decks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentdeck.cli.options import json_option

if TYPE_CHECKING:
    from agentdeck.errors import Issue


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path())
@json_option("Print one JSON object: files, and every issue with its position.")
def check(files: tuple[str, ...], as_json: bool) -> int:
    """Check workflow files or a deck. Each fault is printed as file:line:column, what is wrong, and how to
    fix it. Nothing is run.

    \b
    Examples:
      agentdeck check order.yaml
      agentdeck check deck.yaml
      agentdeck check --json *.yaml

    Exit codes: 0 fine (warnings do not count), 2 some file has a fault.
    """
    from agentdeck import plugins
    from agentdeck.cli.error_output import say, tidy
    from agentdeck.cli.text_tables import out, print_document
    from agentdeck.insight.formatting import plural
    from agentdeck.workflow.check import check as look

    issues: list[Issue] = []
    for file in files:
        found = list(look(Path(file)))
        if all(issue.warning for issue in found):
            found += _against_deck(Path(file))
        issues += found
        if not as_json:
            for issue in found:
                out(tidy(str(issue)))
            faults = sum(not issue.warning for issue in found)
            warnings = len(found) - faults
            counts = [plural(n, word) for n, word in ((faults, "fault"), (warnings, "warning")) if n]
            out(tidy(f"{file}: {', '.join(counts) or 'ok'}"))
    if missing := plugins.unregistered():
        names = ", ".join(f"{plugin.seam} {plugin.name}" for plugin in missing)
        say(f"not registered: {names}: {plugins.STALE}")
    good = all(issue.warning for issue in issues)
    if as_json:
        from agentdeck.documents.command import Check
        from agentdeck.documents.command import Issue as IssueDocument

        rows = [IssueDocument.of(issue) for issue in issues]
        print_document(Check.model_construct(ok=good, files=list(files), issues=rows))
    return 0 if good else 2


def _against_deck(file: Path) -> list[Issue]:
    """A fault for a tier, a model or a tool that a prompt names and the deck beside the file does not have."""
    from agentdeck.errors import InvalidFile, Issue, ProviderError, UsageError
    from agentdeck.workflow.deck import NAME, deck_for
    from agentdeck.workflow.loader import load

    if file.name == NAME:
        return []
    definition = load(file).definition
    folder = definition.folder or file.resolve().parent
    try:
        deck = deck_for(folder)
        if not deck.models:
            return []
        from agentdeck.engine.launch import programs
        from agentdeck.providers.registry import check_deck

        check_deck(deck, programs(definition, folder, {}, deck=deck).definitions())
    except UsageError as error:
        return [Issue(str(file), 0, 0, str(error))]
    except (InvalidFile, ProviderError):  # a fault of the deck, or a key that this shell does not have
        pass
    return []

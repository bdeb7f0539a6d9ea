"""`check`: every fault of every file, at once."""

from __future__ import annotations

from pathlib import Path

import click

from agentdeck.cli.options import json_option


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path())
@json_option("One JSON object: files, and every issue with its place.")
def check(files: tuple[str, ...], as_json: bool) -> int:
    """Check workflow files, or a deck, and name every fault as file:line:column, what is wrong, and what to do.
    Nothing is run.

    \b
    Examples:
      agentdeck check order.yaml
      agentdeck check deck.yaml
      agentdeck check --json *.yaml

    Exit codes: 0 fine (warnings do not count), 2 some file has a fault.
    """
    from agentdeck.cli.errors import tidy
    from agentdeck.cli.pages import dump, out
    from agentdeck.errors import Issue
    from agentdeck.insight.numbers import plural
    from agentdeck.workflow.check import check as look

    issues: list[Issue] = []
    for file in files:
        found = list(look(Path(file)))
        issues += found
        if not as_json:
            for issue in found:
                out(tidy(str(issue)))
            faults = sum(not issue.warning for issue in found)
            warnings = len(found) - faults
            told = [plural(n, word) for n, word in ((faults, "fault"), (warnings, "warning")) if n]
            out(tidy(f"{file}: {', '.join(told) or 'ok'}"))
    good = all(issue.warning for issue in issues)
    if as_json:
        dump({"ok": good, "files": list(files), "issues": [issue._asdict() for issue in issues]})
    return 0 if good else 2

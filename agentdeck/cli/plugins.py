"""`plugins`: what is installed at each seam, and whether it loads."""

from __future__ import annotations

from contextlib import redirect_stdout
from sys import stderr

import click

from agentdeck.cli.options import json_option


@click.command()
@json_option("Print one JSON object: every plugin, and why it cannot be loaded.")
def plugins(as_json: bool) -> int:
    """List what is installed at each seam: agents, providers, places, observers and frameworks. Every plugin is
    imported.

    \b
    Examples:
      agentdeck plugins
      agentdeck plugins --json

    Exit codes: 0 all plugins are loaded, 3 some cannot be loaded.
    """
    from agentdeck.cli.error_output import tidy
    from agentdeck.cli.text_tables import out, print_document, table
    from agentdeck.operations.plugins import plugin_states

    with redirect_stdout(stderr):  # stdout is for data: what a module prints on import is none
        states = list(plugin_states())
    broken = [state for state in states if state.why]
    if as_json:
        from agentdeck.documents.command import Plugin, Plugins

        rows = [Plugin.of(plugin, ok=not why, why=why) for plugin, why in states]
        print_document(Plugins.model_construct(ok=not broken, plugins=rows))
        return 3 if broken else 0
    cells = [
        (plugin.seam, plugin.name, f"{plugin.package} {plugin.version}", plugin.target, "no" if why else "yes")
        for plugin, why in states
    ]
    for line in table(("seam", "name", "package", "object", "loads"), cells):
        out(line)
    for plugin, why in broken:
        out(tidy(f"\n{plugin.seam} {plugin.name} of {plugin.package} is left out: {why}"))
    return 3 if broken else 0

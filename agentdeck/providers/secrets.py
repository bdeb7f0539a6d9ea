"""Checks the secrets of a deck: where each is used, and whether it has a value."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from os import environ
from pathlib import Path

from agentdeck.errors import ProviderError, UsageError
from agentdeck.workflow.deck import Deck, Secret
from agentdeck.workflow.model import Definition, Prompt
from agentdeck.workflow.name_hints import likely_fix
from agentdeck.workflow.secret_uses import secret_uses

#: The notation in the `env` and `headers` of an MCP server.
WRITTEN = re.compile(r"\$\{\s*secret\.([A-Za-z_][A-Za-z0-9_]*)\s*\}")


def check_secrets(deck: Deck, definitions: Iterable[Definition], env: Mapping[str, str] = environ) -> None:
    """Check the secrets of these workflows, and of the MCP servers they use, as far as possible without reading
    them. Raises UsageError for one that is not in the deck, ProviderError for one without a value."""
    where = deck.file.name if deck.file else "the deck"
    used: dict[str, None] = {}
    for definition in definitions:
        for use in secret_uses(definition):
            if use.name not in deck.secrets:
                fix = likely_fix(use.name, deck.secrets) or "it has none"
                raise UsageError(f"{use.agent}: the secret {use.name} is not in {where}; {fix}")
            used[use.name] = None
        for agent in definition.agents.values():
            for tool in agent.does.tools if isinstance(agent.does, Prompt) else ():
                server = deck.mcp.get(tool.partition("/")[0])
                values = (*server.env.values(), *server.headers.values()) if server is not None else ()
                used |= dict.fromkeys(name for value in values for name in WRITTEN.findall(value))
    faults = [
        f"the secret {name} has no value: {what}" for name in used if (what := lacking(deck.secrets[name], env))
    ]
    if faults:
        raise ProviderError("\n".join(faults))


def lacking(secret: Secret, env: Mapping[str, str] = environ) -> str:
    """Why this secret cannot be read, as far as that is known without reading it; empty where nothing is
    wrong."""
    if secret.env is not None:
        return "" if env.get(secret.env) else f"{secret.env} is not set in the environment"
    if secret.file is not None:
        return "" if Path(secret.file).is_file() else f"there is no file {secret.file}"
    return "" if shutil.which(secret.command[0]) else f"there is no command {secret.command[0]}"

"""The deck: providers, models, tiers and account limits of an installation, shared by all runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentdeck.errors import InvalidFile
from agentdeck.workflow.model import Data, ProviderLimits
from agentdeck.workflow.name_hints import likely_fix
from agentdeck.workflow.yaml_source import Path_, Source, read_file

#: How a deck's file is called, wherever it lies.
NAME = "deck.yaml"
WORKERS = 20
#: Seconds: a Retry-After of hours is a server's mistake, or a quota that an operator should hear of.
MAX_RETRY_AFTER = 600.0


@dataclass(frozen=True, slots=True)
class Provider:
    """Who answers prompts. `key` is kept as written (`${env.X}`, or a command): its value is read when it is
    used and is in no value, log or file of ours. `fails` and `throttles` are shares of the calls that a simulated
    provider lets fail, and refuses for their rate. `max_retry_after`: no longer is waited where the provider asks
    for more."""

    type: str
    key: Data = None
    url: str | None = None
    limits: ProviderLimits = field(default_factory=ProviderLimits)
    learn: bool = False
    fails: float = 0.0
    throttles: float = 0.0
    max_retry_after: float = MAX_RETRY_AFTER


@dataclass(frozen=True, slots=True)
class Model:
    """What a provider answers with. `price` is dollars per million tokens (in, out); None is looked up. `cached`
    is the price of input that the provider had kept; None is the same as for other input. `max_output` is the
    longest answer it can give, in tokens; None where the deck does not say."""

    provider: str
    id: str
    price: tuple[float, float] | None = None
    cached: float | None = None
    max_output: int | None = None


@dataclass(frozen=True, slots=True)
class McpServer:
    """Who has tools for prompts: a program that is started (`command`), or a url. Values of `env` and `headers`
    may hold `${env.X}`, which is read when it is used."""

    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret comes from: a variable of the environment, the first line that a command prints, or a file.
    Its value is read when it is used, and is in no value, log or file of ours."""

    env: str | None = None
    command: tuple[str, ...] = ()
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Deck:
    """Without a file: every tier is served by the simulated provider. `workers` None: it does not say."""

    workers: int | None = None
    providers: Mapping[str, Provider] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)
    tiers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mcp: Mapping[str, McpServer] = field(default_factory=dict)
    file: Path | None = None
    secrets: Mapping[str, Secret] = field(default_factory=dict)


_USE = re.compile(r"\$\{\s*secret\.(\w+)\s*\}")


def find_deck(folder: Path) -> Path | None:
    """The file beside the workflow, else in the user's config folder, else none."""
    from platformdirs import user_config_dir

    for place in (folder, Path(user_config_dir("agentdeck", appauthor=False))):
        if (place / NAME).is_file():
            return place / NAME
    return None


def deck_for(folder: Path) -> Deck:
    """The deck that runs from this folder are bound by. Raises InvalidFile."""
    found = find_deck(folder)
    return load_deck(found) if found is not None else Deck()


def load_deck(path: Path) -> Deck:
    """Raises InvalidFile with every fault."""
    from agentdeck.workflow.deck_file import DeckFile
    from agentdeck.workflow.file_reading import read as read_model

    source = read_file(path)
    read = read_model(DeckFile, source)
    _check_names(read, source)
    secrets = read.get("secrets")
    _secret_uses(read, (), secrets if isinstance(secrets, dict) else {}, source)
    if source.issues:
        raise InvalidFile(sorted(source.issues, key=lambda issue: issue[:3]))
    providers = {
        name: Provider(**{**given, "limits": ProviderLimits(**given.get("limits", {}))})
        for name, given in read.get("providers", {}).items()
    }
    models = {name: _model(given) for name, given in read.get("models", {}).items()}
    tiers = {name: tuple(given) for name, given in read.get("tiers", {}).items()}
    mcp = {
        name: McpServer(**{**given, "command": tuple(given.get("command", ()))})
        for name, given in read.get("mcp", {}).items()
    }
    secrets = {name: _secret(given, path.parent) for name, given in read.get("secrets", {}).items()}
    return Deck(read.get("limits", {}).get("workers"), providers, models, tiers, mcp, path, secrets)


def _secret(given: Mapping[str, Any], folder: Path) -> Secret:
    """Relative files are looked for beside the deck."""
    file = str(folder / Path(given["file"]).expanduser()) if "file" in given else None
    return Secret(given.get("env"), tuple(given.get("command", ())), file)


def _model(given: Mapping[str, Any]) -> Model:
    price = given.get("price")
    paid = None if price is None else (price["in"], price["out"])
    cached = None if price is None else price.get("cached")
    return Model(given["provider"], given["id"], paid, cached, given.get("max_output"))


def _check_names(read: Mapping[str, Any], source: Source) -> None:
    """Models name providers of the deck, tiers name its models."""
    providers, models = read.get("providers") or {}, read.get("models") or {}
    if not isinstance(providers, dict) or not isinstance(models, dict):
        return
    for name, model in models.items():
        provider = model.get("provider") if isinstance(model, dict) else None
        if isinstance(provider, str) and provider not in providers:
            what = f"{provider} is not a provider of this deck"
            source.fault(("models", name, "provider"), what, likely_fix(provider, providers))
    tiers = read.get("tiers")
    for name, given in (tiers if isinstance(tiers, dict) else {}).items():
        for i, model in enumerate(given if isinstance(given, list) else []):
            if isinstance(model, str) and model not in models:
                what = f"{model} is not a model of this deck"
                source.fault(("tiers", name, i), what, likely_fix(model, models))


def _secret_uses(value: Any, path: Path_, secrets: Mapping[str, Any], source: Source) -> None:
    """Secrets stand in `env` and `headers` of MCP servers, and are in the deck."""
    if isinstance(value, str):
        for name in _USE.findall(value):
            if len(path) < 3 or path[0] != "mcp" or path[2] not in ("env", "headers"):
                fix = "a provider's key is read from env or command" if path[0] == "providers" else ""
                source.fault(path, "a secret cannot stand here", fix)
            elif name not in secrets:
                fix = likely_fix(name, secrets) or f"add it to secrets: {name}"
                source.fault(path, f"{name} is not a secret of this deck", fix)
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        if path or key != "secrets":
            _secret_uses(item, (*path, key), secrets, source)

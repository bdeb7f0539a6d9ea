"""The deck: providers, models, tiers and account limits of an installation, shared by all runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from agentdeck.errors import InvalidFile
from agentdeck.workflow.model import Data, ProviderLimits
from agentdeck.workflow.wording import likely_fix
from agentdeck.workflow.yaml_source import Path_, Source, as_map, read_file

#: The place of agents that name none: the engine's own process.
LOCAL = "local"
#: The file name of every deck.
NAME = "deck.yaml"
WORKERS = 20
#: Seconds: a Retry-After of hours is a mistake of the server, or a quota that an operator has to know of.
MAX_RETRY_AFTER = 600.0


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider of models. `key` holds the text of the file (`${env.X}`, or a command): its value is read when
    it is used, and is never recorded. `max_retry_after` is the longest wait, whatever the provider asks for.
    `options` are the values of the keys that only its type has."""

    type: str
    key: Data = None
    url: str | None = None
    limits: ProviderLimits = field(default_factory=ProviderLimits)
    learn: bool = False
    max_retry_after: float = MAX_RETRY_AFTER
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    """A model of a provider. `price` is dollars per million tokens (in, out); None is looked up. `cached`
    is the price of input that the provider has cached; None is the price of other input. `max_output` is the
    longest answer it can give, in tokens; None where the deck does not say."""

    provider: str
    id: str
    price: tuple[float, float] | None = None
    cached: float | None = None
    max_output: int | None = None


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server of tools for prompts: a program that is started (`command`), or a url. Values of `env` and
    `headers` may hold `${env.X}`, which is read when it is used."""

    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Secret:
    """The source of a secret: a variable of the environment, the first line that a command prints, or a file. Its
    value is read when it is used, and is never recorded."""

    env: str | None = None
    command: tuple[str, ...] = ()
    file: str | None = None


#: The name in `gateway.models` for all names that are not mapped otherwise.
GATEWAY_DEFAULT = "default"
#: The tiers of a deck without models, whose prompts are simulated.
SIMULATED_TIERS = ("routing", "execution", "reasoning")


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """The calls that agents make through the gateway. `models` maps the names that clients ask for, in which `*`
    stands for anything, to models and tiers of the deck, and GATEWAY_DEFAULT to that of all others. `all`: every
    agent that can uses the gateway, unless the workflow says otherwise."""

    all: bool = False
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeckPlace:
    """Where attempts run. `slots` is how many at once, None is not limited. Relative paths are looked up in
    `folder`, that of the deck. `options` are the values of the keys that only its type has."""

    name: str
    type: str
    slots: int | None = None
    folder: Path = Path()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deck:
    """Without a file, the simulated provider serves every tier. `workers` None is not set."""

    workers: int | None = None
    providers: Mapping[str, Provider] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)
    tiers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mcp: Mapping[str, McpServer] = field(default_factory=dict)
    file: Path | None = None
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    places: Mapping[str, DeckPlace] = field(default_factory=dict)
    gateway: GatewayRules = field(default_factory=GatewayRules)


_USE = re.compile(r"\$\{\s*secret\.(\w+)\s*\}")


def find_deck(folder: Path) -> Path | None:
    """The deck beside the workflow, else the one in the user's config folder, else None."""
    from platformdirs import user_config_dir

    for place in (folder, Path(user_config_dir("agentdeck", appauthor=False))):
        if (place / NAME).is_file():
            return place / NAME
    return None


def deck_for(folder: Path) -> Deck:
    """The deck of runs from this folder. Raises InvalidFile."""
    found = find_deck(folder)
    return load_deck(found) if found is not None else Deck()


def load_deck(path: Path) -> Deck:
    """The deck in a file. Raises InvalidFile with every fault."""
    from agentdeck.workflow.deck_file import DeckFile
    from agentdeck.workflow.file_reading import read as read_model

    source = read_file(path)
    read = read_model(DeckFile, source)
    _check_names(read, source)
    _secret_uses(read, (), as_map(read.get("secrets")), source)
    if source.issues:
        raise InvalidFile(sorted(source.issues, key=lambda issue: issue[:3]))

    def of(key: str, make: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any]:
        return {name: make(given) for name, given in read.get(key, {}).items()}

    return Deck(
        read.get("limits", {}).get("workers"),
        of("providers", _provider),
        of("models", _model),
        of("tiers", tuple),
        of("mcp", lambda given: McpServer(**{**given, "command": tuple(given.get("command", ()))})),
        path,
        of("secrets", lambda given: _secret(given, path.parent)),
        {name: _place(name, given, path.parent) for name, given in read.get("places", {}).items()},
        GatewayRules(**read.get("gateway", {})),
    )


def _secret(given: Mapping[str, Any], folder: Path) -> Secret:
    """A secret; a relative file is looked up in the folder of the deck."""
    file = str(folder / Path(given["file"]).expanduser()) if "file" in given else None
    return Secret(given.get("env"), tuple(given.get("command", ())), file)


def _place(name: str, given: Mapping[str, Any], folder: Path) -> DeckPlace:
    options = {key: value for key, value in given.items() if key not in ("type", "slots")}
    return DeckPlace(name, given["type"], given.get("slots"), folder.resolve(), options)


def _provider(given: Mapping[str, Any]) -> Provider:
    values = {**given, "limits": ProviderLimits(**given.get("limits", {}))}
    common = {field.name: values.pop(field.name) for field in fields(Provider) if field.name in values}
    return Provider(**common, options=values)


def _model(given: Mapping[str, Any]) -> Model:
    price = given.get("price", {})
    paid = (price["in"], price["out"]) if price else None
    return Model(given["provider"], given["id"], paid, price.get("cached"), given.get("max_output"))


def _check_names(read: Mapping[str, Any], source: Source) -> None:
    """Notes a fault for a model with an unknown provider, for a tier with an unknown model, and for a name of the
    gateway with an unknown target."""
    providers, models = read.get("providers", {}), read.get("models", {})
    if not isinstance(providers, dict) or not isinstance(models, dict):
        return
    for name, model in models.items():
        provider = as_map(model).get("provider")
        if isinstance(provider, str) and provider not in providers:
            what = f"{provider} is not a provider of this deck"
            source.fault(("models", name, "provider"), what, likely_fix(provider, providers))
    for name, given in as_map(read.get("tiers")).items():
        for i, model in enumerate(given if isinstance(given, list) else []):
            if isinstance(model, str) and model not in models:
                what = f"{model} is not a model of this deck"
                source.fault(("tiers", name, i), what, likely_fix(model, models))
    targets = {**models, **(as_map(read.get("tiers")) if models else dict.fromkeys(SIMULATED_TIERS))}
    for name, target in as_map(as_map(read.get("gateway")).get("models")).items():
        if isinstance(target, str) and target not in targets:
            what = f"{target} is not a model or tier of this deck"
            source.fault(("gateway", "models", name), what, likely_fix(target, targets))


def _secret_uses(value: Any, path: Path_, secrets: Mapping[str, Any], source: Source) -> None:
    """Notes a fault for a secret outside `env` and `headers` of MCP servers, and for an unknown one."""
    if isinstance(value, str):
        for name in _USE.findall(value):
            if len(path) < 3 or path[0] != "mcp" or path[2] not in ("env", "headers"):
                fix = "a provider's key is read from env or command" if path[0] == "providers" else ""
                source.fault(path, "a secret is not allowed here", fix)
            elif name not in secrets:
                fix = likely_fix(name, secrets) or f"add it to secrets: {name}"
                source.fault(path, f"{name} is not a secret of this deck", fix)
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        if path or key != "secrets":
            _secret_uses(item, (*path, key), secrets, source)

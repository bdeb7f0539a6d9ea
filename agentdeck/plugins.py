"""Plugins: what agentdeck and other packages add at its five seams, found through entry points.

A package adds to agentdeck by naming an object in its own metadata; agentdeck's built-in parts are named in the
same way, in its pyproject.toml:

    [project.entry-points."agentdeck.agents"]
    notify = "acme_agents.notify:NotifyKind"

This is the only module that imports plugins. A plugin that does not load, or is not what its seam expects, is
named and left out; everything else goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from agentdeck.errors import AgentdeckError, described

if TYPE_CHECKING:  # its import takes as long as all of a child process that needs no plugins
    from importlib.metadata import Distribution, EntryPoint

Seam: TypeAlias = Literal["agents", "providers", "places", "observers", "frameworks"]
SEAMS: tuple[Seam, ...] = get_args(Seam)
#: The package whose plugins are built in: they come first, and no other package can replace them.
BUILT_IN = "agentdeck"
#: The folder of a checkout, where this package is one.
SOURCE = Path(__file__).parents[1]
#: What helps where agentdeck's own parts are not registered.
STALE = "this installation is older than its code; install it again: pip install -e ."
#: What code of a plugin may raise that has to be reported with the plugin's name.
PLUGIN_ERRORS = (Exception, SystemExit, GeneratorExit)


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point at a seam. `target` is `module:object`, `package` the distribution that names it."""

    seam: Seam
    name: str
    target: str
    package: str
    version: str
    entry: EntryPoint = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class BrokenPlugin:
    """A plugin that was left out, and why."""

    plugin: Plugin
    why: str

    def __str__(self) -> str:
        plugin = self.plugin
        return f"{plugin.package} {plugin.version} ({plugin.target}): {self.why}"


class PluginError(AgentdeckError):
    """A plugin is not what its seam expects. The message says what is wrong, without the plugin's name."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Loaded:
    """The plugins of one seam: the objects by name, those of agentdeck first, and what was left out."""

    objects: Mapping[str, Any]
    broken: tuple[BrokenPlugin, ...]


@cache
def found_entry_points() -> Mapping[Seam, tuple[EntryPoint, ...]]:
    """The entry points of all seams. They are looked for once: that reads the metadata of every installed
    package, which takes 30 ms where there are a hundred."""
    from importlib.metadata import entry_points

    found = entry_points()
    return {seam: tuple(found.select(group=f"agentdeck.{seam}")) for seam in SEAMS}


@cache
def installed(seam: Seam) -> tuple[Plugin, ...]:
    """The plugins that are installed for a seam, without importing them; built-in ones first, then by name."""
    found = (_plugin(seam, entry) for entry in found_entry_points()[seam])
    ordered = sorted(found, key=lambda one: (one.package != BUILT_IN, one.name, one.package))
    if not any(plugin.package == BUILT_IN for plugin in ordered):
        raise PluginError(f"agentdeck's own parts are not registered: {STALE}")
    return tuple(ordered)


def unregistered(source: Path = SOURCE) -> tuple[Plugin, ...]:
    """The built-in parts that a checkout has and its editable installation does not know, because it was made by
    an earlier version. None where agentdeck was not installed from a checkout."""
    import tomllib
    from importlib.metadata import EntryPoint

    try:
        project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    except (OSError, KeyError):
        return ()
    if project["name"] != BUILT_IN:
        return ()
    own = [plugin for plugin in all_installed() if plugin.package == BUILT_IN]
    known = {(plugin.seam, plugin.name) for plugin in own}
    return tuple(
        Plugin(seam, name, target, BUILT_IN, own[0].version, EntryPoint(name, target, f"agentdeck.{seam}"))
        for seam in SEAMS
        for name, target in project.get("entry-points", {}).get(f"agentdeck.{seam}", {}).items()
        if (seam, name) not in known
    )


def _plugin(seam: Seam, entry: EntryPoint) -> Plugin:
    package, version = _package(entry.dist) if entry.dist is not None else ("?", "")
    return Plugin(seam, entry.name, entry.value, package, version, entry)


@cache
def _package(distribution: Distribution) -> tuple[str, str]:
    """Its name and version. Each look parses all of its metadata, and one may have many plugins."""
    metadata = distribution.metadata
    return metadata["Name"], metadata["Version"]


def load(seam: Seam, make: Callable[[str, Any], Any]) -> Loaded:
    """Import the plugins of a seam. `make` gets the name and the object of each, and returns what the seam keeps;
    it raises PluginError for an object that the seam cannot use."""
    objects: dict[str, Any] = {}
    owners: dict[str, str] = {}
    broken: list[BrokenPlugin] = []
    for plugin in installed(seam):
        if plugin.name in owners:
            why = f"the name {plugin.name} belongs to {owners[plugin.name]}"
        else:
            why = _load(plugin, make, objects)
        if why:
            broken.append(BrokenPlugin(plugin, why))
        else:
            owners[plugin.name] = plugin.package
    return Loaded(objects, tuple(broken))


def find(seam: Seam, name: str, make: Callable[[str, Any], Any]) -> Any:
    """What `make` returns for the plugin with this name; the others are not imported. Raises KeyError where none
    has the name, and PluginError, which says which package and why, where it does not load."""
    plugin = next((one for one in installed(seam) if one.name == name), None)
    if plugin is None:
        raise KeyError(name)
    objects: dict[str, Any] = {}
    if why := _load(plugin, make, objects):
        raise PluginError(str(BrokenPlugin(plugin, why)))
    return objects[name]


def names(seam: Seam) -> tuple[str, ...]:
    """The names that are installed for a seam, without importing anything; built-in ones first."""
    return tuple(dict.fromkeys(plugin.name for plugin in installed(seam)))


def _load(plugin: Plugin, make: Callable[[str, Any], Any], objects: dict[str, Any]) -> str:
    """Add the plugin's object to `objects`; returns why that is not possible, else an empty text."""
    try:
        objects[plugin.name] = make(plugin.name, plugin.entry.load())
    except PluginError as error:
        return str(error)
    except PLUGIN_ERRORS as error:  # whatever the plugin's module does when it is imported
        return described(error)
    return ""


def is_built_in(found: object) -> bool:
    """Whether the class of this object is one of agentdeck's own."""
    return type(found).__module__.startswith(f"{BUILT_IN}.")


def all_installed() -> Iterator[Plugin]:
    """The plugins of all seams."""
    for seam in SEAMS:
        yield from installed(seam)

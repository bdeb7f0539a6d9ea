"""What is installed at the seams for plugins, and whether it loads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from agentdeck import plugins
from agentdeck.agents.frameworks import known
from agentdeck.engine import observers
from agentdeck.places import place
from agentdeck.plugins import SEAMS, Loaded, Plugin, Seam
from agentdeck.providers import provider_type
from agentdeck.workflow import agent_kind


def _agents() -> Loaded:
    """The kinds of agents; those whose keys cannot be used in files are among the broken ones."""
    loaded = agent_kind.loaded()
    return Loaded(loaded.objects, (*loaded.broken, *agent_kind.file_keys().broken.values()))


#: What loads all plugins of a seam, and checks that each is what its seam expects.
LOADERS: Mapping[Seam, Callable[[], Loaded]] = {
    "agents": _agents,
    "providers": provider_type.loaded,
    "places": place.loaded,
    "observers": observers.loaded,
    "frameworks": known.loaded,
}


class PluginState(NamedTuple):
    """A plugin, and why it does not load; empty where it does."""

    plugin: Plugin
    why: str


def plugin_states() -> Iterator[PluginState]:
    """Every installed plugin, by seam, agentdeck's own first, and what an installation from a checkout does not
    know yet. All that are installed are imported."""
    for seam in SEAMS:
        why = {one.plugin: one.why for one in LOADERS[seam]().broken}
        for plugin in plugins.installed(seam):
            yield PluginState(plugin, why.get(plugin, ""))
    for plugin in plugins.unregistered():
        yield PluginState(plugin, f"it is not registered: {plugins.STALE}")

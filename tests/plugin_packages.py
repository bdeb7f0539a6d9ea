"""Packages with plugins, as pip would install them: modules, and the metadata that names their entry points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

from agentdeck import plugins
from agentdeck.agents.frameworks import known
from agentdeck.engine import observers
from agentdeck.places import place
from agentdeck.providers import provider_type
from agentdeck.workflow import agent_kind, provider_types, workflow_file

CACHES = (
    plugins.found_entry_points,
    plugins.installed,
    provider_types.provider_type,
    provider_types.spec_of,
    provider_type.provider_type,
    known.loaded,
    place.loaded,
    observers.loaded,
    agent_kind.loaded,
    agent_kind.file_keys,
    agent_kind.file_kinds,
    agent_kind.key_names,
    workflow_file.workflow_file,
)


def write_package(
    folder: Path, name: str, entries: Mapping[str, Mapping[str, str]], modules: Mapping[str, str]
) -> None:
    """Write version 1.0 of a package into a folder of the import path. `entries` are `module:object` by name, by
    seam; `modules` are texts by name."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines: list[str] = []
    for seam, targets in entries.items():
        lines += [f"[agentdeck.{seam}]", *(f"{entry} = {target}" for entry, target in targets.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(dedent(text))


@contextmanager
def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The packages in a folder are installed in this process meanwhile."""
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(folder))
        forget()
        yield
    forget()


def forget() -> None:
    """Have the installed plugins looked up again."""
    for cache in CACHES:
        cache.cache_clear()

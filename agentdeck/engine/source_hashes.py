"""Hashes of files that a run depends on and that its definition only names: taken at launch, compared at resume.

Covered are the files that kinds of agents report (the modules that `python:` names, the images of prompts whose
name has no expression), the modules of retry rules, and the modules of the workflow's own folders that were
imported before the launch. Modules imported later and images whose name a task gives are not covered.
Sub-workflows need no hash: their definitions are in the store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from agentdeck.errors import UsageError
from agentdeck.scheduler.events import Author, Noted
from agentdeck.scheduler.program import Program
from agentdeck.store.run_list import RunRow
from agentdeck.workflow.agent_kind import kind_of
from agentdeck.workflow.functions import file_of, module_file
from agentdeck.workflow.model import Data

#: Option of a run: the kind and the hash of each file, by path.
FILES = "files"
#: Folders inside a project that hold third-party modules.
FOREIGN = frozenset({"site-packages", "dist-packages", "node_modules", ".tox", ".nox"})
PIECE = 1 << 20


def files_of(
    program: Program, folder: Path, functions: Mapping[str, Callable[..., Any]]
) -> dict[str, dict[str, Data]]:
    """The files of a workflow with their hashes, by path: relative to `folder` where they are inside it."""
    found: dict[Path, str] = {}
    folders: set[Path] = set()
    for definition, base in _definitions(program, folder):
        folders.add(base)
        for name, agent in definition.agents.items():
            own = functions.get(name) if definition is program.definition else None
            found |= dict(kind_of(agent).files(agent, base, own))
            if agent.retry.on is not None:
                rule = functions.get(agent.retry.on)
                path = module_file(agent.retry.on, base) if rule is None else file_of(rule)
                found |= {path: "module"} if path is not None else {}
    if any(kind == "module" for kind in found.values()):
        for path in _imported(folders):
            found.setdefault(path, "module")
    hashed = ((path, kind, hash_of(path)) for path, kind in found.items())
    return {_named(path, folder): {"kind": kind, "hash": text} for path, kind, text in hashed if text}


def _definitions(program: Program, folder: Path) -> Iterator[tuple[Any, Path]]:
    definition = program.definition
    base = folder if definition.folder is None else definition.folder
    yield definition, base.resolve()
    for nested in program.nested.values():
        yield from _definitions(nested, base)


def _imported(folders: set[Path]) -> Iterator[Path]:
    """The modules inside these folders that this process has imported: not agentdeck, not installed packages."""
    own = Path(__file__).resolve().parents[1]
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str):
            continue
        path = Path(file)
        if not path.is_absolute() or FOREIGN.intersection(path.parts) or path.is_relative_to(own):
            continue
        if any(path.is_relative_to(folder) for folder in folders):
            yield path.resolve()


def _named(path: Path, folder: Path) -> str:
    base = folder.resolve()
    return str(path.relative_to(base) if path.is_relative_to(base) else path)


def hash_of(path: Path) -> str:
    """The hash of a file's bytes; empty where it cannot be read."""
    digest = blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
    except OSError:
        return ""
    return digest.hexdigest()


def changed_files(row: RunRow, folder: Path | None = None) -> dict[str, str]:
    """The files that differ from the launch or from the last accepted state, as text by path: `module shop.py
    changed`. Empty where none does, or where version 0.1 launched the run and recorded no hashes."""
    base = folder or Path(str(row.source.get("folder") or "."))
    found = {}
    for name, known in (row.options.get(FILES) or {}).items():
        now = hash_of(base / name)
        if now != known["hash"]:
            found[name] = f"{known['kind']} {name} {'changed' if now else 'is missing'}"
    return found


def accepted(row: RunRow, folder: Path | None = None) -> dict[str, Data]:
    """The run's options with the files as they are now."""
    base = folder or Path(str(row.source.get("folder") or "."))
    files = {
        name: {**known, "hash": hash_of(base / name)} for name, known in (row.options.get(FILES) or {}).items()
    }
    return {**row.options, FILES: files}


def note_changes(at: float, changes: Mapping[str, str], author: Author) -> Noted:
    """The record that an operator accepted changed files."""
    text = f"{'; '.join(changes.values())} since the launch; accepted by {author.text}"
    return Noted(at, text, data={"changed": list(changes), "author": author._asdict()})


def refuse_changes(row: RunRow, changes: Mapping[str, str]) -> None:
    """Raises UsageError, with what differs and how to continue, where files have changed."""
    if changes:
        raise UsageError(
            f"{'; '.join(changes.values())} since {row.run} was launched: restore the files of the launch, "
            f"or continue with the current ones: agentdeck resume {row.run} --accept-changes"
        )

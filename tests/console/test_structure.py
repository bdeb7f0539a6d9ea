"""How the modules of the console depend on each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import agentdeck.console

ROOT = Path(agentdeck.console.__file__).parent
MODULES = {
    ".".join(("agentdeck.console", *path.relative_to(ROOT).with_suffix("").parts)): ast.parse(
        path.read_text("utf-8")
    )
    for path in ROOT.rglob("*.py")
}
#: Methods of named tuples and of the standard library that begin with an underscore and are public.
PUBLIC = {"_replace", "_asdict", "_exit"}


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_modules_import_each_other_in_a_circle() -> None:
    needs = {name: {one for one in imported(tree) if one in MODULES} for name, tree in MODULES.items()}
    assert len(needs) > 50
    TopologicalSorter(needs).prepare()  # raises CycleError, which names the circle


def is_own(value: ast.expr) -> bool:
    call = value.func if isinstance(value, ast.Call) else value
    return isinstance(call, ast.Name) and call.id in ("self", "cls", "super")


def test_no_object_uses_a_private_attribute_of_another() -> None:
    found = [
        f"{name}:{node.lineno} {ast.unparse(node)}"
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.attr not in PUBLIC
        and not is_own(node.value)
    ]
    assert not found


def test_screens_inherit_from_one_class_of_ours_at_most() -> None:
    bases = {
        node.name: [base.id for base in node.bases if isinstance(base, ast.Name)]
        for name, tree in MODULES.items()
        if ".screens." in name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    for name, own in bases.items():
        for base in own:
            assert not [one for one in bases.get(base, ()) if one in bases], name

"""Starting up stays fast and the engine stays without a screen: heavy packages come when they are needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import agentdeck
from agentdeck.cli.main import MODULES

BY_NAME = ("import_module", "__import__", "run_module", "resolve_name")
HEAVY = ("textual", "httpx", "pydantic", "ruamel", "rich")


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sorted({{n.partition('.')[0] for n in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import agentdeck", "import agentdeck.cli.main"])
def test_starting_up_loads_nothing_heavy(statement: str) -> None:
    assert loaded_by(statement) & set(HEAVY) == set()


def test_core_needs_no_loop_and_no_disk() -> None:
    loaded = loaded_by("import agentdeck.views.run_view, agentdeck.scheduler.events, agentdeck.workflow.graph")
    assert loaded & {"anyio", "asyncio", "sqlite3", "httpx", "pydantic", "ruamel", "textual"} == set()


def test_workflows_are_loaded_without_what_runs_them() -> None:
    """Kinds of agents import their runners when an attempt needs them, and pydantic when a file is read."""
    kinds = "from agentdeck.workflow.agent_kind import kinds; kinds()"
    text = "agentdeck: 1\\nname: w\\nagents: { a: { http: x }, b: { command: [x] }, c: { prompt: x } }"
    load = f"from agentdeck.workflow.loader import loads; loads('{text}')"
    runs = {"anyio", "asyncio", "sqlite3", "httpx"}
    assert loaded_by(kinds) & {*runs, "pydantic"} == set()
    assert loaded_by(load) & runs == set()


def test_a_place_on_a_cluster_loads_no_client_of_it() -> None:
    """The connector, a process of its own, has that."""
    loaded = loaded_by("import agentdeck.places.dask_place, agentdeck.places.cluster_session")
    assert loaded & {"dask", "distributed", "tornado"} == set()


def test_sending_a_command_needs_no_engine() -> None:
    assert loaded_by("import agentdeck.operations.commands") & {"anyio", "httpx", "textual"} == set()


def test_reading_a_setting_needs_no_pydantic() -> None:
    """Every command reads one when it starts."""
    assert "pydantic" not in loaded_by("from agentdeck.operations.settings import setting; setting('db')")


def test_a_workflow_in_python_needs_no_engine_before_it_runs() -> None:
    loaded = loaded_by("from agentdeck import Workflow; Workflow('made')")
    assert loaded & {*HEAVY, "anyio", "asyncio", "sqlite3"} == set()


def test_the_public_names_exist() -> None:
    loaded_by("import agentdeck; [getattr(agentdeck, name) for name in agentdeck.__all__]")


def test_lazy_tables_name_modules_that_the_import_contract_allows() -> None:
    modules = {f"agentdeck.cli.{module}" for module in MODULES.values()}
    assert all(name.startswith("agentdeck.cli.") and find_spec(name) is not None for name in modules)
    assert all(find_spec(name) is not None for name in agentdeck._HOMES.values())


def test_nothing_else_is_imported_by_name() -> None:
    """import-linter reads import statements; an import by name bypasses it. The package has six: the verbs and
    the public names, whose tables the test above checks, the documents, which are all in one package, the
    operator's own modules, and, in processes of their own, the built-in frameworks and the kinds of clusters,
    which the engine names."""
    package = Path(agentdeck.__file__).parent
    found = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _name(node.func) in BY_NAME
    }
    named = {"__init__.py", "cli/main.py", "documents/registry.py", "workflow/functions.py"}
    assert found == {*named, "places/child_calls.py", "places/connector.py"}


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""

"""Starting up stays fast and the engine stays without a screen: heavy packages come when they are needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


def test_the_public_names_exist() -> None:
    loaded_by("import agentdeck; [getattr(agentdeck, name) for name in agentdeck.__all__]")

"""Entry points of the seams: agentdeck's own come first, and what does not load is named and left out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentdeck import plugins
from agentdeck.operations.plugins import plugin_states
from agentdeck.plugins import PluginError, Seam
from tests.plugin_packages import installed, write_package

SECOND = """
    raise SystemExit("no licence")
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    first = {"places": {"fine": "acme_fine:FINE", "local": "acme_fine:FINE", "exits": "acme_exits:FINE"}}
    write_package(tmp_path, "acme", first, {"acme_fine": "FINE = object()\nLIST = []\n", "acme_exits": SECOND})
    write_package(tmp_path, "beta", {"places": {"fine": "acme_fine:FINE", "odd": "acme_fine:LIST"}}, {})
    with installed(tmp_path, monkeypatch):
        yield tmp_path
    sys.modules.pop("acme_fine", None)


def kept(name: str, found: Any) -> Any:
    """As a seam that takes everything but lists."""
    if isinstance(found, list):
        raise PluginError("it is a list")
    return found


def test_what_loads_is_kept_and_what_does_not_is_named(acme: Path) -> None:
    loaded = plugins.load("places", kept)
    assert list(loaded.objects) == ["dask", "local", "process", "ray", "fine"]
    assert [str(one) for one in loaded.broken] == [
        "acme 1.0 (acme_exits:FINE): SystemExit: no licence",
        "beta 1.0 (acme_fine:FINE): the name fine belongs to acme",
        "acme 1.0 (acme_fine:FINE): the name local belongs to agentdeck",
        "beta 1.0 (acme_fine:LIST): it is a list",
    ]


def test_one_plugin_is_found_without_importing_the_others(acme: Path) -> None:
    assert plugins.names("places") == ("dask", "local", "process", "ray", "exits", "fine", "odd")
    plugins.find("places", "local", kept)
    assert "acme_fine" not in sys.modules
    plugins.find("places", "fine", kept)
    assert "acme_fine" in sys.modules
    with pytest.raises(KeyError):
        plugins.find("places", "none", kept)
    with pytest.raises(PluginError, match=r"acme 1\.0 \(acme_exits:FINE\): SystemExit: no licence"):
        plugins.find("places", "exits", kept)


@pytest.mark.parametrize("seam", plugins.SEAMS)
def test_every_seam_has_a_loader_and_agentdecks_own_parts_load(seam: Seam) -> None:
    states = [state for state in plugin_states() if state.plugin.seam == seam]
    assert [state.why for state in states if state.plugin.package == plugins.BUILT_IN] == [""] * len(states)
    assert states


def test_broken_plugins_are_among_the_states(acme: Path) -> None:
    broken = {state.plugin.name: state.why for state in plugin_states() if state.why}
    assert broken.keys() == {"fine", "local", "exits", "odd"}  # no object of acme is a Place
    assert broken["odd"] == "it is not a subclass of agentdeck.places.place.Place"


def test_an_installation_older_than_its_code_says_so(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p];"
        "from agentdeck import plugins\n"
        "try: plugins.installed('agents')\n"
        "except plugins.PluginError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert "this installation is older than its code; install it again" in done.stdout


def test_parts_that_the_installation_does_not_know_yet_are_named(tmp_path: Path) -> None:
    assert plugins.unregistered(tmp_path) == (), "no checkout"
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "agentdeck"\n[project.entry-points."agentdeck.frameworks"]\n'
        'newest = "agentdeck.agents.frameworks.newest:Newest"\n'
        'langgraph = "agentdeck.agents.frameworks.langgraph:LangGraph"\n'
    )
    assert [(one.seam, one.name) for one in plugins.unregistered(tmp_path)] == [("frameworks", "newest")]
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert plugins.unregistered(tmp_path) == (), "another project's folder"

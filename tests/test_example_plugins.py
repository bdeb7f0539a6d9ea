"""The package in examples/plugins: installed with pip, it keeps the contracts, and a run uses all its plugins."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "plugins"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip has installed the package into, from a copy of its source, without a network."""
    pytest.importorskip("hatchling", reason="it builds the package; install agentdeck[dev]")
    folder = tmp_path_factory.mktemp("plugins")
    source = folder / "source"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--target", str(folder / "site"), str(source)], check=True
    )
    return folder


def run(installed: Path, *command: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(installed / "site"), str(ROOT)]), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_keeps_the_contracts(installed: Path) -> None:
    done = run(installed, "pytest", "-q", "-p", "no:cacheprovider", folder=installed / "source")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_its_plugins_are_listed(installed: Path) -> None:
    done = run(installed, "agentdeck", "plugins", "--json", folder=installed)
    assert done.returncode == 0, done.stderr
    own = [one for one in json.loads(done.stdout)["plugins"] if one["package"] == "clerk-plugins"]
    assert [(one["seam"], one["name"], one["version"]) for one in own] == [
        ("agents", "note", "1.0"),
        ("providers", "clerk", "1.0"),
        ("observers", "ledger", "1.0"),
    ]


def test_a_workflow_uses_all_of_them(installed: Path) -> None:
    source, ledger = installed / "source", installed / "ledger.jsonl"
    for file in ("workflow.yaml", "deck.yaml"):
        done = run(installed, "agentdeck", "check", file, folder=source)
        assert (done.returncode, done.stdout) == (0, f"{file}: ok\n")
    planned = run(installed, "agentdeck", "plan", "workflow.yaml", folder=source)
    assert "notes          notes.txt" in planned.stdout
    done = run(
        installed, "agentdeck", "run", "workflow.yaml", "-i", "text=Two keyboards", "--json", folder=source,
        CLERK_LEDGER=str(ledger), AGENTDECK_DB=str(installed / "runs.db"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["output"], summary["simulated"]) == ("Certainly: Two keyboards", True)
    assert summary["usd"] == pytest.approx((3 * 1 + 3 * 2) / 1e6)
    assert (source / "notes.txt").read_text() == "Certainly: Two keyboards\n"
    line = json.loads(ledger.read_text())
    assert line == {"run": summary["run"], "workflow": "clerk", "state": "done", "done": 2}

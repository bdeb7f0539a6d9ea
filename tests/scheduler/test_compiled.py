"""The compiled scheduler decides as the interpreted one does."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

import agentdeck
from agentdeck.scheduler import scheduler
from tests.scheduler.log_hashes import draw_cases

ROOT = Path(__file__).parents[2]
RUNS = 300


def logs(cases: bytes, path: Path | None = None) -> tuple[str, list[str]]:
    """The file of the scheduler, and the hashes of its logs. It is imported from `path`, or as it is here."""
    paths = [str(path), str(ROOT)] if path is not None else [str(ROOT)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"}
    call = [sys.executable, "-P", "-m", "tests.scheduler.log_hashes"]
    file, *hashes = subprocess.run(call, env=env, check=True, input=cases, stdout=subprocess.PIPE).stdout.split()
    return file.decode(), [hashed.decode() for hashed in hashes]


@pytest.mark.skipif(scheduler.__file__.endswith(".py"), reason="the package that is imported is not compiled")
def test_random_runs_have_the_same_logs_interpreted(tmp_path: Path) -> None:
    package = Path(agentdeck.__file__).parent
    copytree(package, tmp_path / package.name, ignore=ignore_patterns("*.so", "*.pyd", "__pycache__"))
    cases = pickle.dumps(draw_cases(RUNS))
    source, interpreted = logs(cases, tmp_path)
    extension, compiled = logs(cases)
    assert source.endswith(".py")
    assert extension == scheduler.__file__
    assert len(interpreted) >= RUNS
    assert compiled == interpreted

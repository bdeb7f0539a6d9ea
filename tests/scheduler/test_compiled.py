"""The compiled scheduler decides as the interpreted one does."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
import tomllib
from collections.abc import Iterator
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


def test_compiled_modules_have_nothing_that_mypyc_gets_wrong() -> None:
    """It does not take an exception that is handled away from other coroutines while it waits: they raise it. And
    it ends with an error at `in (a, *others)`, so that the wheel would be pure Python."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    hook = config["hooks"]["custom"]
    root = Path(agentdeck.__file__).parents[1]
    chosen = {path for glob in hook["modules"] for path in root.glob(glob)}
    chosen -= {path for glob in hook["interpreted"] for path in root.glob(glob)}
    wrong = [(path, node) for path in sorted(chosen) for node in (*late_awaits(path), *starred_members(path))]
    found = [f"{path.name}:{node.lineno}" for path, node in wrong]
    assert len(chosen) > 40
    assert found == []


def late_awaits(path: Path) -> Iterator[ast.expr | ast.stmt]:
    """What waits in an except or finally clause, or where an `async with` is left."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.AsyncWith):
            yield node
        elif isinstance(node, ast.Try):
            clauses = [*node.handlers, *node.finalbody]
            yield from (inner for one in clauses for inner in ast.walk(one) if isinstance(inner, _WAITS))


def starred_members(path: Path) -> Iterator[ast.expr]:
    """The tests for membership in a tuple or list that is made of others."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare):
            made = [one for one in node.comparators if isinstance(one, ast.Tuple | ast.List)]
            yield from (one for one in made if any(isinstance(item, ast.Starred) for item in one.elts))


_WAITS = ast.Await | ast.AsyncFor | ast.AsyncWith


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

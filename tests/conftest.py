"""What holds for every test: nothing of the user's own is read or written; random cases are the same each time.

`make soak` looks for new ones.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from agentdeck.scheduler import transitions
from tests.forked import installed

ROOT = Path(__file__).resolve().parents[1]

#: On a busy machine making examples is slow; that is no fault of a test.
BUSY = [HealthCheck.too_slow]
settings.register_profile("suite", max_examples=75, deadline=None, derandomize=True, suppress_health_check=BUSY)
settings.register_profile("search", max_examples=5000, deadline=None, print_blob=True, suppress_health_check=BUSY)
settings.load_profile("suite")
transitions.VALIDATE = True


# The tests start hundreds of processes, and pytest itself compiles the tests: each once, not in every process.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """All that is imported and collected stays to the end: the garbage collector need not look at it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["uvloop", "asyncio"])
def loop_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """For PYTHONPATH of a process that executes a run, to try it on both event loops. On asyncio's, uvloop cannot
    be imported."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
        return str(ROOT)
    folder = tmp_path_factory.mktemp("without")
    (folder / "uvloop.py").write_text("raise ImportError\n")
    return f"{folder}{os.pathsep}{ROOT}"


@pytest.fixture(scope="session", autouse=True)
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Config and data folders that are empty when the tests begin, no settings of agentdeck and OpenTelemetry."""
    folder = tmp_path_factory.mktemp("empty_home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("AGENTDECK_", "OTEL_"))]:
            if name != "AGENTDECK_SOAK":
                patch.delenv(name)
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
            patch.setenv(name, str(folder / name.lower()))
        yield


@pytest.fixture(scope="session", autouse=True)
def forked(empty_home: None) -> Iterator[None]:
    with installed():
        yield

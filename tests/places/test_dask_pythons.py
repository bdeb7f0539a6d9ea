"""The place `dask` with workers that have another Python than the engine. Long: `make test-places`."""

from __future__ import annotations

import platform
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from agentdeck.errors import UsageError
from agentdeck.store.reader import Reader
from tests.every_python import version_of
from tests.places import runs
from tests.places.dask_cluster import ROOT, DaskCluster

PYTHON = ROOT / ".venv/other-python/bin/python"
pytestmark = [
    pytest.mark.places,
    pytest.mark.anyio,
    pytest.mark.skipif(not PYTHON.exists(), reason=f"{PYTHON} is missing: make test-places, with another Python"),
]


async def test_a_run_is_refused_where_workers_have_another_python(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("crew.py"), tmp_path / "crew.py")
    there = ".".join(map(str, version_of(str(PYTHON)) or ()))
    (tmp_path / "dask").mkdir()
    cluster = DaskCluster(tmp_path / "dask", python=str(PYTHON))
    try:
        cluster.start()
        with pytest.raises(UsageError) as caught:
            await runs.run(tmp_path, f'type: dask, address: "{cluster.address}", slots: 4', "add", x=1)
    finally:
        cluster.close()
    for name in ("first", "second"):
        wrong = f"{name} has Python {there}, and the engine has {platform.python_version()}; they must have"
        assert wrong in str(caught.value)
    with closing(Reader(tmp_path / "runs.db")) as reader:
        assert reader.runs() == []

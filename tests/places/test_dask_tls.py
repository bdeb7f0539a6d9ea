"""The place `dask` with a cluster that speaks TLS. Long: `make test-places`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentdeck.errors import UsageError
from tests.places import runs
from tests.places.dask_cluster import DaskCluster

pytestmark = [
    pytest.mark.places,
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make certificates"),
]


def certificate(folder: Path, name: str) -> None:
    """A certificate that is its own authority, and its key."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-keyout", f"{name}-key.pem", "-out", f"{name}.pem"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    folder = tmp_path_factory.mktemp("dask")
    certificate(folder, "ours")
    certificate(folder, "other")
    files = ("--tls-ca-file", "ours.pem", "--tls-cert", "ours.pem", "--tls-key", "ours-key.pem")
    cluster = DaskCluster(folder, "--protocol", "tls", *files)
    cluster.start()
    yield cluster
    cluster.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).with_name("crew.py"), tmp_path / "crew.py")
    return tmp_path


def place(cluster: DaskCluster, name: str) -> str:
    at = cluster.folder / name
    tls = f'ca: "{at}.pem", cert: "{at}.pem", key: "{at}-key.pem"'
    return f'type: dask, address: "{cluster.address}", slots: 4, tls: {{ {tls} }}'


@pytest.mark.parametrize("scheme", ["tls://", "tcp://", ""])
async def test_steps_run_on_a_cluster_with_tls(cluster: DaskCluster, folder: Path, scheme: str) -> None:
    """However the address is written."""
    assert cluster.address.startswith("tls://")
    given = place(cluster, "ours").replace("tls://", scheme)
    assert (await runs.run(folder, given, "add", x=1)).output == 3


NO_ANSWER = "no scheduler of Dask answers at {address}: "


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("ours", "other"), NO_ANSWER + "[SSL: CERTIFICATE_VERIFY_FAILED]"),
        (("/ours-key", "/other-key"), "the files of tls are no keys that belong together: "),
        (('/ours.pem", cert', '/ours-key.pem", cert'), "the files of tls are no keys that belong together: "),
        ((", tls:", ", x-tls:"), NO_ANSWER + "the place has no keys; add tls: "),
    ],
)
async def test_a_run_is_refused_with_wrong_keys(
    cluster: DaskCluster, folder: Path, change: tuple[str, str], what: str
) -> None:
    with pytest.raises(UsageError) as caught:
        await runs.run(folder, place(cluster, "ours").replace(*change), "add", x=1)
    start = f"the place crew cannot be used: {what.format(address=cluster.address)}"
    assert str(caught.value).startswith(start)

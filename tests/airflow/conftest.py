from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from agentdeck.store.reader import Reader
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
#: Loopback alone: Airflow listens on all interfaces, and reaches none.
ALONE = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "alone"]


@pytest.fixture
def kill(tmp_path: Path) -> Callable[[str], None]:
    """Kills the process that executes a run in the store of this test."""

    def kill_owner(run: str) -> None:
        with closing(Reader(tmp_path / "deck.db")) as reader:
            pid = reader.run(run).pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            until(lambda: reader.run(run).state == "interrupted")

    return kill_owner


#: Airflow fails tasks where a busy machine needs longer than its timeouts. And it considers a deferred task as
#: killed that goes on before the end of its worker is noticed, which takes up to a heartbeat interval.
PATIENT = {
    "workers__execution_api_timeout": 300,
    "workers__min_heartbeat_interval": 1,
    "core__dagbag_import_timeout": 300,
    "dag_processor__dag_file_processor_timeout": 600,
    "scheduler__task_instance_heartbeat_timeout": 1200,
    "scheduler__task_queued_timeout": 1200,
    "triggerer__on_kill_timeout": 300,
}


class OwnAirflow:
    """An interpreter that has Airflow, with a home folder for it. The DAGs are in `folder`."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.python = ROOT / ".venv/airflow/bin/python"
        if not self.python.exists():
            pytest.skip(f"{self.python} is missing: make test-airflow")
        self.folder = folder
        own = {"home": home, "core__dags_folder": folder, "core__load_examples": False, "core__parallelism": 2}
        own |= {"core__simple_auth_manager_all_admins": True, "core__dags_are_paused_at_creation": False}
        own |= PATIENT
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("AGENTDECK_", "AIRFLOW"))
        }
        names = {
            f"AIRFLOW_{'' if name == 'home' else '_'}{name.upper()}": str(value) for name, value in own.items()
        }
        self.env = {**kept, **names, "PYTHONPATH": str(ROOT)}

    def __call__(self, *arguments: str, alone: bool = False) -> str:
        """The output of a Python process; `alone`: in a network namespace of its own."""
        command = [*(ALONE if alone else ()), str(self.python), *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=5400)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder for Airflow, with its database."""
    home = tmp_path_factory.mktemp("airflow")
    OwnAirflow(home, home)("-m", "airflow", "db", "migrate")
    return home


@pytest.fixture
def airflow(migrated: Path, tmp_path: Path) -> OwnAirflow:
    home, folder = tmp_path / "home", tmp_path / "dags"  # apart: Airflow looks for DAGs in all folders of one
    # Without the configuration, which Airflow has written with the paths of the home that is copied.
    shutil.copytree(migrated, home, ignore=shutil.ignore_patterns("airflow.cfg", "logs"))
    folder.mkdir()
    return OwnAirflow(home, folder)

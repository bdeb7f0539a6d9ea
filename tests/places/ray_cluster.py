"""A Ray cluster for tests, and engines that use it, in a network namespace with nothing but loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from agentdeck.scheduler import events as ev
from agentdeck.store.reader import LogLine, Reader
from agentdeck.workflow.model import Data
from tests.waiting import until

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv/ray/bin/python"
PORT = 6379
ADDRESS = f"127.0.0.1:{PORT}"
#: The variable by which their processes are found.
MARK = "RAY_TEST_NODES"
#: Seconds for whatever takes long with Ray, on a machine that is busy.
LONG = 180.0


class RayNodes:
    """The nodes, by name: a `head` without processors, and workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # of a short name: Ray makes sockets in it
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AGENTDECK_"))},
            "HOME": str(folder),
            MARK: str(folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "token-of-the-test-cluster-0123456789",
            "RAY_USAGE_STATS_ENABLED": "0",
            # A node that has died is found after 2 s and not 15, and may take its time to start.
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_failure_threshold": "4",
            "RAY_raylet_start_wait_time_s": "120",
        }
        program = str(Path(__file__).with_name("ray_nodes.py"))
        self._log = (folder / "nodes.log").open("w")
        self._process = subprocess.Popen(
            ["unshare", "-rn", str(PYTHON), "-P", program, str(folder), str(PORT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=self.env,
            cwd=folder,
            start_new_session=True,
        )
        self._answer("ready")

    def start(self) -> None:
        self.tell("head")
        self.start_worker("first")
        self.start_worker("second")

    def start_worker(self, name: str) -> None:
        self.tell("worker", name, 2, {"GPU": 2} if name == "second" else {})

    def kill(self, name: str) -> None:
        self.tell("kill", name)

    def tell(self, *command: Data) -> None:
        assert self._process.stdin is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)
        self._answer(str(command[0]))

    def _answer(self, wanted: str) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.strip() == wanted, (self.folder / "nodes.log").read_text()[-2000:]

    def hosts(self) -> list[int]:
        """The processes of hosts."""
        return [pid for pid in self._processes() if _read(pid, "cmdline").startswith(b"ray::RayHost")]

    def close(self) -> None:
        """Processes of Ray have groups of their own, and some outlive their node."""
        until(lambda: not self._kill_all())
        self._process.wait()
        self._log.close()

    def _kill_all(self) -> int:
        found = self._processes()
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(found)

    def _processes(self) -> list[int]:
        """All that has been started for these nodes, and for engines that use them."""
        mark = f"{MARK}={self.folder}".encode()
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
        return [pid for pid in pids if mark in _read(pid, "environ").split(b"\0")]

    def command(self, *arguments: str, apart: bool = False) -> list[str]:
        """A command that is executed beside the nodes; `apart`: as on a machine that is no node."""
        enter = ("nsenter", "--user", "--net", "--preserve-credentials", f"--target={self._process.pid}")
        unseen = ("unshare", "--pid", "--fork", "--mount-proc") if apart else ()
        return [*enter, *unseen, str(PYTHON), "-P", *arguments]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


@contextmanager
def ray_nodes() -> Iterator[RayNodes]:
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing: make test-places")
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode
    ):
        pytest.skip("no network namespaces here: Ray would listen on all addresses of this machine")
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        nodes = RayNodes(Path(folder))
        try:
            yield nodes
        finally:
            nodes.close()


class Engine:
    """A run of one workflow by `agentdeck run`, in a folder that has `crew.py`."""

    def __init__(
        self, nodes: RayNodes, folder: Path, place: str = "slots: 50", apart: bool = False, **env: str
    ) -> None:
        self._apart = apart
        self.nodes, self.folder, self.db = nodes, folder, folder / "runs.db"
        self.process: subprocess.Popen[str] | None = None
        self.err = ""
        self._env = {**nodes.env, **env}
        shutil.copy(Path(__file__).with_name("crew.py"), folder)
        given = place if "address" in place else f'address: "{ADDRESS}", {place}'
        (folder / "deck.yaml").write_text(f"agentdeck: 1\nplaces:\n  crew: {{ type: ray, {given} }}\n")

    def start(self, agents: dict[str, dict[str, Any]], tasks: Sequence[dict[str, Data]] = ({},)) -> None:
        """Each agent is executed at the place, once and for at most two minutes, where it does not say else."""
        usual = {"place": "crew", "retry": 1, "timeout": "120s"}
        data = {
            **{"agentdeck": 1, "name": "crew", "inputs": dict.fromkeys(tasks[0], "any")},
            "agents": {name: usual | agent for name, agent in agents.items()},
        }
        (self.folder / "crew.yaml").write_text(json.dumps(data))
        (self.folder / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
        self._start("run", "crew.yaml", "--tasks", "tasks.jsonl", "--workers", "50")

    def resume(self) -> None:
        self._start("resume", "last")

    def _start(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            self.nodes.command("-m", "agentdeck", *arguments, "--db", str(self.db), apart=self._apart),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self._env,
            start_new_session=True,
        )

    def wait(self) -> int:
        """Its exit code. What it prints is that of agentdeck alone."""
        assert self.process is not None
        _, self.err = self.process.communicate(timeout=LONG)
        assert not [word for word in ("raylet", "gcs_", "Traceback") if word in self.err], self.err
        return self.process.returncode

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def agentdeck(self, *arguments: str) -> str:
        done = self._done(*arguments, "--db", str(self.db))
        return done.stdout + done.stderr

    def workers(self) -> list[dict[str, Any]]:
        """What `agentdeck places` says of the workers of the place."""
        (place,) = json.loads(self._done("places", "crew", "--json").stdout)["places"]
        assert place["ok"], place["problem"]
        found: list[dict[str, Any]] = place["workers"]
        return found

    def _done(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.nodes.command("-m", "agentdeck", *arguments),
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=LONG,
        )

    def of(self, kind: type) -> list[Any]:
        """The events of a kind."""
        with closing(Reader(self.db)) as reader:
            events = reader.events(reader.run("last").run)
            return [event for _, event in events if isinstance(event, kind)]

    def outputs(self) -> dict[str, Any]:
        """Of the steps that succeeded, by name."""
        return {event.step: event.output for event in self.of(ev.StepSucceeded)}

    def faults(self) -> dict[str, Any]:
        return {event.step: event.fault for event in self.of(ev.StepFailed)}

    def log(self, step: str) -> list[LogLine]:
        with closing(Reader(self.db)) as reader:
            return reader.logs(reader.run("last").run, agent=step)

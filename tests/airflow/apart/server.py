"""Airflow itself, in a network namespace that has nothing but loopback, and what a test asks it over REST. Used
by the interpreter that has Airflow."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

URL = "http://127.0.0.1:8080"
#: Seconds that anything may take here: the machine may be busy.
PATIENCE = 1800
ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")


class Airflow:
    """`airflow standalone`, which writes into `said`, and one run of one of its DAGs."""

    def __init__(self, dag: str, said: Path) -> None:
        self.dag = dag
        self.said = said
        self.run = ""
        self._token = ""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(URL + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from None

    def start_run(self) -> None:
        """Log in, and start a run of the DAG once Airflow has read it."""

        def started() -> bool:
            with contextlib.suppress(OSError, RuntimeError):
                self._token = self.call("GET", "/auth/token")["access_token"]
                made = self.call("POST", f"/api/v2/dags/{self.dag}/dagRuns", {"logical_date": None})
                self.run = made["dag_run_id"]
            return bool(self.run)

        until(started, "Airflow is up and knows the DAG", pause=1.0)

    def tasks(self) -> dict[str, dict[str, Any]]:
        found = self.call("GET", f"/api/v2/dags/{self.dag}/dagRuns/{self.run}/taskInstances")
        return {one["task_id"]: one for one in found["task_instances"]}

    def state(self, task: str) -> str | None:
        state: str | None = self.tasks()[task]["state"]
        return state

    def until_state(self, task: str, *states: str, tries: int = 1) -> None:
        """Wait for one of these states in this try, or a later one. Raises RuntimeError where the task has ended
        in another, with the end of its log."""

        def there() -> bool:
            now = self.tasks()[task]
            if now["try_number"] < tries:
                return False
            if now["state"] in ENDED and now["state"] not in states:
                raise RuntimeError(f"{task} is {now['state']}: {self.log(task, now['try_number'])[-3000:]}")
            return now["state"] in states

        until(there, f"{task} is {' or '.join(states)} in try {tries}", pause=0.5)

    def until_left(self, task: str, times: int = 1) -> None:
        """Wait until Airflow has noticed that the task left its worker, for the number of times that it did.
        Airflow considers a task as killed that goes on sooner, as where its question is answered."""
        left = f"Received executor event with state success for task instance TaskInstanceKey(dag_id='{self.dag}'"
        left += f", task_id='{task}', run_id='{self.run}'"
        until(lambda: self.said.read_text().count(left) >= times, f"{task} has left its worker {times} times")

    def mark(self, task: str, state: str) -> None:
        path = f"/api/v2/dags/{self.dag}/dagRuns/{self.run}/taskInstances/{task}"
        self.call("PATCH", path, {"new_state": state})

    def clear(self, task: str) -> None:
        wanted = {"dry_run": False, "dag_run_id": self.run, "task_ids": [task], "only_failed": False}
        self.call("POST", f"/api/v2/dags/{self.dag}/clearTaskInstances", wanted)

    def questions(self) -> list[dict[str, Any]]:
        found = self.call("GET", f"/api/v2/dags/{self.dag}/dagRuns/{self.run}/hitlDetails")
        details: list[dict[str, Any]] = found["hitl_details"]
        return details

    def answer(self, task: str, option: str, params: dict[str, Any]) -> None:
        path = f"/api/v2/dags/{self.dag}/dagRuns/{self.run}/taskInstances/{task}/-1/hitlDetails"
        self.call("PATCH", path, {"chosen_options": [option], "params_input": params})

    def xcom(self, task: str, key: str = "return_value") -> Any:
        path = (
            f"/api/v2/dags/{self.dag}/dagRuns/{self.run}/taskInstances/{task}/xcomEntries/{key}?deserialize=true"
        )
        return self.call("GET", path)["value"]

    def log(self, task: str, number: int = 1) -> str:
        """What was logged in a try, one event a line."""
        path = f"/api/v2/dags/{self.dag}/dagRuns/{self.run}/taskInstances/{task}/logs/{number}?full_content=true"
        content = self.call("GET", path)["content"]
        return "\n".join(one["event"] if isinstance(one, dict) else str(one) for one in content)


def until(there: Callable[[], bool], what: str, pause: float = 0.2) -> None:
    """Wait until it is so. A request that Airflow does not answer in time is made again."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if there():
                return
        time.sleep(pause)
    raise RuntimeError(f"not within {PATIENCE} s: {what}")


@contextlib.contextmanager
def standalone(said: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Airflow with all its parts, each a process; all have ended afterwards."""
    with said.open("wb") as out:
        command = [sys.executable, "-m", "airflow", "standalone"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # its parts are called by name
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PATH": path},
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def processes(word: str) -> list[int]:
    """The processes of this namespace whose command has this word: a namespace of its own has only ours."""
    mine = Path("/proc/self/ns/net").readlink()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "ns/net").readlink() == mine and word in (entry / "cmdline").read_bytes().decode():
                found.append(int(entry.name))
    return found

"""The example service of examples/service: a real server, driven over HTTP."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from agentdeck import Question, Result, RunStatus, TaskResult
from tests.waiting import until

pytestmark = pytest.mark.skipif(find_spec("fastapi") is None, reason="needs fastapi")
SERVICE = Path(__file__).resolve().parents[2] / "examples" / "service"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of the service, which runs in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port), "--log-level", "warning"],
        cwd=SERVICE,
        env={**os.environ, "AGENTDECK_DB": str(tmp_path / "service.db")},
    )
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)

    def answers() -> bool:
        assert process.poll() is None, "the service has ended"
        try:
            return client.get("/runs").is_success
        except httpx.ConnectError:
            return False

    try:
        until(answers)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(60)


def start(service: httpx.Client, *orders: str) -> str:
    made = service.post("/runs", json=list(orders))
    assert made.status_code == 201, made.text
    return RunStatus.model_validate_json(made.text).run


def questions(service: httpx.Client, run: str, number: int) -> list[Question]:
    def found() -> list[Question]:
        return [Question.model_validate(one) for one in service.get(f"/runs/{run}/questions").json()]

    until(lambda: len(found()) == number)
    return sorted(found(), key=lambda question: question.task)


def test_a_run_from_its_start_to_its_results(service: httpx.Client) -> None:
    run = start(service, "2 x KB-87", "1 x MS-12", "many")
    first, second = questions(service, run, 2)
    assert first.text == "Ship 2 of KB-87?"
    answer = {"step": "confirm", "values": {"approved": True, "note": "by hand"}}
    unclear = {"step": "confirm", "values": {"approved": "false"}}
    refused = service.post(f"/runs/{run}/tasks/{first.task}/answer", json=unclear)
    assert (refused.status_code, refused.json()["detail"]) == (
        409,
        "confirm: approved must be true or false, not 'false'",
    )
    assert service.post(f"/runs/{run}/tasks/{first.task}/answer", json=answer).status_code == 204
    wrong = service.post(f"/runs/{run}/tasks/{first.task}/answer", json=answer)
    assert (wrong.status_code, wrong.json()["detail"]) == (409, "no step confirm is waiting in task 1")

    kinds = []
    with service.stream("GET", f"/runs/{run}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():  # they come while the run goes on: the second question is open
            if line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                kinds.append(event["event"])
                if event["event"] == "task_ended" and event["task"] == "1":
                    no = {"step": "confirm", "values": {"approved": False}}
                    service.post(f"/runs/{run}/tasks/{second.task}/answer", json=no)
    assert (kinds[0], kinds[-1]) == ("run_started", "run_ended")

    result = Result.model_validate_json(service.get(f"/runs/{run}/result").text)
    assert (result.state, result.summary["tasks"]["failed"]) == ("failed", 1)
    lines = service.get(f"/runs/{run}/tasks").text.splitlines()
    tasks = {task.task: task for task in map(TaskResult.model_validate_json, lines)}
    assert tasks["1"].output == {"sku": "KB-87", "count": 2, "shipped": True, "note": "by hand"}
    assert tasks["2"].output["shipped"] is False
    assert tasks["3"].error is not None
    assert (tasks["3"].error.step, tasks["3"].error.kind) == ("extract", "exception")
    assert TaskResult.model_validate_json(service.get(f"/runs/{run}/tasks/3").text) == tasks["3"]
    assert service.post(f"/runs/{run}/retry").json() == 1
    assert Result.model_validate_json(service.get(f"/runs/{run}/result").text).steps["extract"].attempts == 4
    assert [one["run"] for one in service.get("/runs").json()] == [run]


def test_a_run_is_cancelled_and_an_unknown_one_is_not_found(service: httpx.Client) -> None:
    run = start(service, "2 x KB-87")
    questions(service, run, 1)
    assert service.post(f"/runs/{run}/cancel").status_code == 204
    assert service.post(f"/runs/{run}/cancel").status_code == 204
    assert service.get(f"/runs/{run}/result").json()["state"] == "cancelled"
    assert service.get("/runs/nothing").status_code == 404


def test_models_and_paths_are_described_as_they_are(service: httpx.Client) -> None:
    described = service.get("/openapi.json").json()
    shown = re.findall(r"localhost:8000(/\S+)", (SERVICE / "README.md").read_text(encoding="utf-8"))
    assert len(shown) == 5
    assert {path.replace("RUN", "{run}").replace("/1/", "/{task}/") for path in shown} <= set(described["paths"])
    schemas = described["components"]["schemas"]
    assert {"Result", "RunStatus", "TaskResult", "StepResult", "StepFault", "Question"} <= set(schemas)

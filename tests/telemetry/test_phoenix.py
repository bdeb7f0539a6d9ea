"""Against a real receiver, Phoenix, read back by its REST interface. `make test-live` installs it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentdeck.operations.span_export import export_spans
from agentdeck.trace_ids import trace_id
from tests.cli.conftest import QUICK, Deck
from tests.telemetry.recording import RUN, T, record, started, workflow
from tests.telemetry.test_export import EVENTS, LINES, ORDER
from tests.waiting import until

pytestmark = pytest.mark.live
#: Nothing is sent elsewhere, and nothing of it executes what it reads.
SETTINGS = {
    "PHOENIX_HOST": "127.0.0.1",
    "PHOENIX_TELEMETRY_ENABLED": "false",
    "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
    "PHOENIX_AGENTS_DISABLE_BASH": "true",
    "PHOENIX_AGENTS_DISABLE_WEB_ACCESS": "true",
}


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("phoenix")
    if program is None:
        pytest.fail("Phoenix is not installed; run this with: make test-live")
    folder, port = tmp_path_factory.mktemp("phoenix"), free_port()
    ports = {"PHOENIX_PORT": port, "PHOENIX_GRPC_PORT": free_port(), "PHOENIX_WORKING_DIR": str(folder)}
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve"], cwd=folder, env={**os.environ, **SETTINGS, **ports}, stdout=log, stderr=log
        )
        try:
            until(lambda: _answers(process, url), 180)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    assert process.poll() is None, "Phoenix ended; see its log"
    try:
        return httpx.get(f"{url}/v1/projects", trust_env=False).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture
def project(phoenix: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the spans of a project that has none; the environment names it."""
    name = request.node.name
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", phoenix)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", f"openinference.project.name={name}")
    return f"{phoenix}/v1/projects/{name}/spans"


def spans(project: str, number: int) -> list[dict[str, Any]]:
    """The spans of the project, once it has so many: it inserts them some time after it has answered."""
    found: list[dict[str, Any]] = []

    def arrived() -> bool:
        answer = httpx.get(project, params={"limit": 1000}, trust_env=False)
        found[:] = answer.json()["data"] if answer.is_success else []
        return len(found) >= number

    until(arrived, 60)
    return found


def test_an_exported_run_is_a_tree_of_known_spans(tmp_path: Path, project: str) -> None:
    db = tmp_path / "deck.db"
    order = workflow(tmp_path, ORDER)
    record(db, order, [started(order), *EVENTS], LINES)
    sent = export_spans(str(db), RUN).spans
    found = spans(project, sent)
    assert len(found) == sent
    ids = {span["context"]["span_id"]: span for span in found}
    assert {span["context"]["trace_id"] for span in found} == {trace_id(RUN, "1")}
    (root,) = (span for span in found if span["parent_id"] is None)
    assert root["name"] == "invoke_workflow order"
    assert all(span["parent_id"] in ids for span in found if span is not root)
    assert {span["name"].split()[0]: span["span_kind"] for span in found} == {
        "invoke_workflow": "CHAIN", "invoke_agent": "AGENT", "attempt": "CHAIN", "wait": "CHAIN", "chat": "LLM",
        "execute_tool": "TOOL",
    }  # fmt: skip
    times = [datetime.fromisoformat(root[name]) for name in ("start_time", "end_time")]
    assert times == [datetime.fromtimestamp(T, UTC), datetime.fromtimestamp(T + 14, UTC)]
    assert sorted(span["name"] for span in found if span["status_code"] == "ERROR") == ["attempt 1", "chat small"]
    last = max((span for span in found if span["name"] == "chat small"), key=lambda span: span["end_time"])
    known = last["attributes"]
    assert (known["llm.token_count.prompt"], known["llm.token_count.completion"]) == (120, 30)
    assert known["llm.token_count.prompt_details.cache_read"] == 100
    assert "llm.input_messages.0.message.content" not in known


def test_a_second_export_adds_nothing(tmp_path: Path, project: str) -> None:
    """Phoenix keeps the first span of an id, in whatever project it is: content has to be wanted from the
    beginning."""
    db = tmp_path / "deck.db"
    order = workflow(tmp_path, ORDER)
    for run in ("r2", "r3"):
        record(db, order, [started(order, run=run), *EVENTS], LINES, run=run)
    sent = export_spans(str(db), "r2", content=True).spans
    first = spans(project, sent)
    assert export_spans(str(db), "r2", again=True).spans == sent
    assert export_spans(str(db), "r3").spans == sent  # when these have arrived, those before them have
    assert len(spans(project, 2 * sent)) == 2 * sent
    shown = {value for span in first for name, value in span["attributes"].items() if "input_messages" in name}
    assert {"Read 3 x MS-12", "Be brief"} <= {value for value in shown if isinstance(value, str)}


def test_a_run_arrives_while_it_executes(deck: Deck, project: str) -> None:
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_RESOURCE_ATTRIBUTES", "NO_PROXY")
    file = deck.write("quick.yaml", QUICK)
    env = {**deck.env, **{name: os.environ[name] for name in names}}
    words = deck.command(("run", file.name, "-i", "word=a"))
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, cwd=deck.folder)
    assert done.returncode == 0, done.stderr
    found = {span["name"] for span in spans(project, 5)}
    assert {"invoke_workflow quick", "invoke_agent first", "invoke_agent second", "attempt 1"} <= found

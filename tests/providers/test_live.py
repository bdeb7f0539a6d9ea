"""Against a real proxy that speaks both protocols: litellm, with answers it makes up itself. `make test-live`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agentdeck.engine.launch import Launch, run
from agentdeck.workflow.loader import load

pytestmark = [pytest.mark.live, pytest.mark.anyio]
WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
KEY = "sk-live-proxy-0123456789"
#: One answer that fits every agent of both examples.
ANSWER = {
    "findings": [],
    "severity": "low",
    "comment": "Fine.",
    "verdict": "pass",
    "tags": ["a"],
    "class": "letter",
}
DECK = """
agentdeck: 1
limits: {{ workers: 30 }}
providers:
  proxy: {{ type: {kind}, url: "{url}/v1", key: "${{env.PROXY_KEY}}" }}
models:
  small: {{ provider: proxy, id: small, price: {{ in: 1, out: 5 }} }}
  large: {{ provider: proxy, id: large, price: {{ in: 10, out: 50 }} }}
tiers: {{ routing: small, execution: small, reasoning: large }}
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    beside = Path(sys.executable).with_name("litellm")
    program = str(beside) if beside.exists() else shutil.which("litellm")
    if program is None:
        pytest.fail("litellm is not installed; run this with: make test-live")
    folder = tmp_path_factory.mktemp("proxy")
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{name}",
                "api_base": "http://127.0.0.1:9",
                "api_key": "none",
                "mock_response": json.dumps(ANSWER),
            },
        }
        for name in ("small", "large")
    ]
    (folder / "config.yaml").write_text(
        json.dumps({"model_list": models, "general_settings": {"master_key": KEY}})
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    call = [program, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(call, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            end = time.monotonic() + 120
            while not ready(url):
                assert process.poll() is None, (folder / "log").read_text()[-3000:]
                assert time.monotonic() < end, "the proxy did not start"
                time.sleep(0.3)
            yield url
        finally:
            process.terminate()
            process.wait(20)


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/liveliness", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def written(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize(("name", "count"), [("code_review", 0), ("documents", 500)])
async def test_examples_run_against_a_real_proxy(
    proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, count: int
) -> None:
    monkeypatch.setenv("PROXY_KEY", KEY)
    (tmp_path / "deck.yaml").write_text(DECK.format(kind=kind, url=proxy))
    documents = [{"title": f"Letter {at}", "text": "Dear Sir or Madam"} for at in range(count)]
    inputs = {"documents": documents} if count else {}
    definition = load(WORKFLOWS / f"{name}.yaml").definition
    outcome = await run(Launch(definition, tmp_path, inputs, db=tmp_path / "runs.db"))
    assert outcome.state == "done"
    if count:
        assert [found["class"] for found in outcome.view.output["classes"]] == ["letter"] * count
    else:
        assert outcome.view.output == ANSWER
    assert outcome.view.simulated is True  # of the agents that are no prompts
    assert KEY.encode() not in written(tmp_path)


async def test_a_wrong_key_is_told(proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_KEY", "sk-wrong-0123456789")
    (tmp_path / "deck.yaml").write_text(DECK.format(kind="openai", url=proxy))
    definition = load(WORKFLOWS / "documents.yaml").definition
    inputs = {"documents": [{"title": "a", "text": "b"}]}
    outcome = await run(Launch(definition, tmp_path, inputs, db=tmp_path / "runs.db"))
    assert outcome.state == "failed"
    assert b"sk-wrong-0123456789" not in written(tmp_path)

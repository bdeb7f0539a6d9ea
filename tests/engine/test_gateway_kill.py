"""kill -9 while a program waits for an answer of the gateway: its call is closed, and the run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from agentdeck.scheduler import events as ev
from agentdeck.store.reader import Reader
from tests.waiting import until

#: The client ends with its engine, as its connection breaks; an attempt later it gets its answer.
CLIENT = """
import json, os, urllib.request
body = json.dumps({"model": "any", "messages": [{"role": "user", "content": "Hello"}]}).encode()
headers = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"}
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
answer = json.load(urllib.request.build_opener().open(urllib.request.Request(url, body, headers)))
print(json.dumps(answer["choices"][0]["finish_reason"]))
"""
WORK = """
agentdeck: 1
name: work
agents:
  ask: { command: [PYTHON, client.py], gateway: true }
budget: { tokens: 100k }
"""


def test_a_killed_run_closes_its_calls_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(CLIENT)
    (tmp_path / "w.yaml").write_text(WORK.replace("PYTHON", sys.executable))
    db = tmp_path / "k.db"
    env = {**os.environ, "AGENTDECK_DB": str(db), "XDG_CONFIG_HOME": str(tmp_path)}
    call = [sys.executable, "-m", "agentdeck.cli.main"]
    owner = subprocess.Popen(
        [*call, "run", "w.yaml"], cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def log() -> list[ev.Event]:
        if not db.exists():
            return []
        reader = Reader(db)
        try:
            return [event for row in reader.runs() for _, event in reader.events(row.run)]
        finally:
            reader.close()

    until(lambda: any(isinstance(e, ev.StepStarted) and e.model for e in log()))
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    done = subprocess.run(
        [*call, "resume", "last"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "stop"
    ends = [(e.task, e.state) for e in log() if isinstance(e, ev.TaskEnded)]
    assert ends == [("1/ask[1.1]", "cancelled"), ("1/ask[2.1]", "done"), ("1", "done")]
    lost = [e for e in log() if isinstance(e, ev.AttemptLost) and e.task == "1/ask[1.1]"]
    assert lost[0].usage is not None
    assert lost[0].usage.estimated

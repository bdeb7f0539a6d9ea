"""Exported DAGs in Airflow itself: they load, and give what the workflow gives. `make test-airflow`."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from agentdeck import Workflow
from agentdeck.exporting.airflow import export_airflow
from agentdeck.workflow.loader import load
from agentdeck.workflow.model import Data
from tests.airflow.conftest import ALONE, ROOT, OwnAirflow
from tests.exporting.test_airflow import DATA, EXAMPLES, FEATURES

pytestmark = pytest.mark.live

APPROVAL = """agentdeck: 1
name: approval
inputs: { amount: { type: number, default: 20 } }
agents:
  ask: { approve: { ask: "Refund?", show: "${inputs}", fields: { why: string }, within: 1h } }
  pay: { needs: ask, when: ask.approved, simulate: 0s }
"""
REFUND = """agentdeck: 1
name: refund
inputs: { amount: { type: number, default: 20 } }
agents:
  ask: { approve: { ask: "Refund ${inputs.amount}?", show: "${inputs}", fields: { why: string, share: number } } }
  pay: { needs: ask, when: ask.approved, simulate: { returns: "paid ${inputs.amount * ask.share}: ${ask.why}" } }
output: { paid: "${pay}", answer: "${ask}" }
"""


def export(file: Path, folder: Path) -> None:
    """Write the DAG of a workflow into the folder."""
    dag = export_airflow(load(file), file.name, str(file.resolve()), beside=False)
    (folder / f"{file.stem}.py").write_text(dag.text)


def test_airflow_loads_every_example(airflow: OwnAirflow, tmp_path: Path) -> None:
    (tmp_path / "approval.yaml").write_text(APPROVAL)
    workflows = [*EXAMPLES, FEATURES, tmp_path / "approval.yaml"]
    for file in workflows:
        export(file, airflow.folder)
    found = json.loads(airflow("-m", "tests.airflow.apart.dag_bag", str(airflow.folder)).splitlines()[-1])
    assert found["errors"] == {}
    assert found["dags"].keys() == {load(file).definition.name for file in workflows}
    assert found["dags"]["approval"] == ["ask.question", "ask.answer", "ask.decision", "pay", "output"]


def test_every_kind_of_task_does_what_it_does_in_agentdeck(airflow: OwnAirflow, tmp_path: Path) -> None:
    shutil.copytree(DATA, tmp_path / "flows")
    file = tmp_path / "flows" / "features.yaml"
    export(file, airflow.folder)
    airflow.env["AGENTDECK_DB"] = str(tmp_path / "steps.db")
    dag = str(airflow.folder / "features.py")
    said = airflow("-m", "tests.airflow.apart.executed_dag", dag, '{"speed": "fast"}')
    tasks = json.loads(said.splitlines()[-1])
    assert json.loads(tasks["output"]["return_value"]["agentdeck as JSON"]) == whole(file, speed="fast")
    assert {name: task["state"] for name, task in tasks.items() if task["state"] != "success"} == {
        "walk": "skipped", "lost": "failed", "none.item": "skipped", "pack.bow": "skipped",
    }  # fmt: skip
    assert tasks["flaky"]["tries"] == 2
    assert "weighing {{ ti }} is ${data}" in said


def test_dags_run_to_their_ends_in_a_whole_airflow(airflow: OwnAirflow, tmp_path: Path) -> None:
    """As in agentdeck, with what somebody answers there. One Airflow for all, as its start takes long."""
    if subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip(
            "network namespaces are not allowed here (unshare -rn), and Airflow listens on all interfaces"
        )
    refund = tmp_path / "refund.yaml"
    refund.write_text(REFUND)
    for file in (order := ROOT / "workflows" / "order.yaml", refund):
        export(file, airflow.folder)
    airflow.env["AGENTDECK_DB"] = str(tmp_path / "steps.db")
    yes, no = ("Approve", {"why": "late parcel", "share": 0.5}), ("Reject", {"why": "too late", "share": 1})
    wanted = json.dumps([("order", None), ("refund", yes), ("refund", no)])
    said = airflow("-m", "tests.airflow.apart.exported_run", str(airflow.folder), wanted, alone=True)
    ordered, paid, refused = json.loads(said.splitlines()[-1])
    assert set(ordered["states"].values()) == {"success"}
    assert ordered["output"] == whole(order)
    assert paid["asked"] == [["Refund 20?", '    {\n      "amount": 20\n    }', ["Approve", "Reject"]]]
    assert set(paid["states"].values()) == {"success"}
    assert paid["output"] == answered(refund, *yes)
    assert {name for name, state in refused["states"].items() if state != "success"} == {"pay"}
    assert refused["states"]["pay"] == "skipped"
    assert refused["output"] == answered(refund, *no)


def whole(file: Path, **inputs: Data) -> Data:
    """What the workflow gives in agentdeck."""
    return asyncio.run(Workflow.from_file(file).run(**inputs)).output


def answered(file: Path, option: str, values: Mapping[str, Data]) -> Data:
    """What it gives there with this answer to its question."""
    answer = {**values, "approved": option == "Approve"}
    return asyncio.run(Workflow.from_file(file).run(answers=lambda question: answer)).output

"""The operator in Airflow itself, whose tasks are executed without a server. `make test-airflow`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.airflow.conftest import ROOT, OwnAirflow
from tests.airflow.test_submission import FLAKY, GOOD
from tests.test_docs import blocks

pytestmark = pytest.mark.live

DAG = """
from datetime import timedelta

from airflow.sdk import DAG, task
from agentdeck.airflow import AgentdeckOperator

common = {"db": "DB", "poll": 0.2, "retry_delay": timedelta(0)}

@task
def orders():
    return [{"n": 1}, {"n": 2}]

with DAG("deck", schedule=None) as dag:
    seven = {"n": "{{ 3 + 4 }}"}
    AgentdeckOperator(task_id="deferred", workflow="good.yaml", inputs=seven, run_url="http://at/{run}", **common)
    AgentdeckOperator(task_id="held", workflow="good.yaml", inputs={"n": 8}, deferrable=False, **common)
    AgentdeckOperator(task_id="many", workflow="good.yaml", tasks=orders(), **common)
    AgentdeckOperator(task_id="large", workflow="good.yaml", inputs={"n": 9}, output_limit=0, **common)
    AgentdeckOperator(task_id="wrong", workflow="good.yaml", inputs={"m": 9}, retries=3, **common)
    AgentdeckOperator(task_id="nowhere", workflow="nowhere.yaml", retries=3, **common)
    AgentdeckOperator(task_id="failing", workflow="failing.yaml", **common)
    AgentdeckOperator(task_id="again", workflow="again.yaml", retries=5, **common)
    AgentdeckOperator.partial(task_id="mapped", workflow="good.yaml", **common).expand(inputs=orders())
"""


@pytest.fixture
def ended(airflow: OwnAirflow) -> tuple[dict[str, Any], str]:
    """How the tasks ended, and what was logged."""
    folder = airflow.folder
    (folder / "good.yaml").write_text(GOOD)
    (folder / "failing.yaml").write_text(FLAKY.replace("flaky", "failing").replace("test -e go", "false"))
    # It succeeds in its third attempt: each leaves a line.
    counted = "echo >> tries.log; test $(wc -l < tries.log) -ge 3 && echo 2 || exit 3"
    (folder / "again.yaml").write_text(
        FLAKY.replace("flaky", "again").replace("test -e go && echo 2 || { echo no go >&2; exit 3; }", counted)
    )
    (folder / "dag.py").write_text(DAG.replace("DB", str(folder / "deck.db")))
    said = airflow("-m", "tests.airflow.apart.executed_dag", str(folder / "dag.py"))
    return json.loads(said.splitlines()[-1]), said


def test_tasks_of_every_kind(ended: tuple[dict[str, Any], str], airflow: OwnAirflow) -> None:
    """One DAG for all, as the start of Airflow takes most of the time."""
    tasks, said = ended
    db = str(airflow.folder / "deck.db")
    deferred = tasks["deferred"]
    run = deferred["agentdeck_run"]["run"]
    assert (deferred["state"], deferred["return_value"]) == ("success", 7)
    assert deferred["agentdeck_run"]["show"] == f"agentdeck show {run} --db {db}"
    assert deferred["_link_RunLink"] == f"http://at/{run}"
    assert f"{run} started: good, 8 workers, 1 task" in said
    assert f"{run} done in" in said
    assert (tasks["held"]["state"], tasks["held"]["return_value"]) == ("success", 8)
    assert (tasks["many"]["state"], tasks["many"]["return_value"]) == ("success", [1, 2])
    large = tasks["large"]["agentdeck_run"]["run"]
    assert tasks["large"]["return_value"]["command"] == f"agentdeck results {large} --db {db}"
    assert (tasks["wrong"]["state"], tasks["wrong"]["tries"]) == ("failed", 1)
    assert "AirflowFailException: good has no input m" in said
    assert (tasks["nowhere"]["state"], tasks["nowhere"]["tries"]) == ("failed", 1)
    assert "nowhere.yaml: " in said
    failing = tasks["failing"]["agentdeck_run"]["run"]
    assert tasks["failing"]["state"] == "failed"
    assert (
        f"AirflowException: failing: run {failing} failed (0 tasks done, 1 failed)\nsecond (exit): exited with"
        in said
    )
    again = tasks["again"]
    assert (again["state"], again["tries"], again["return_value"]) == ("success", 3, 2)
    assert said.count(f"{again['agentdeck_run']['run']} was failed: 1 step of 1 task again") == 2
    assert (airflow.folder / "ran.log").read_text() == "ran\n" * 2  # once for `failing`, once for `again`
    assert (tasks["mapped"]["state"], tasks["mapped"]["return_value"]) == ("success", 2)


def test_the_documentation_shows_a_dag_that_loads(airflow: OwnAirflow) -> None:
    (shown,) = blocks(ROOT / "docs/airflow.md", "py")
    airflow("-c", shown)


def test_answers_reach_the_run_and_every_end_of_a_task_cancels_it(airflow: OwnAirflow) -> None:
    said = airflow("-m", "tests.airflow.apart.called_methods", str(airflow.folder))
    saw = json.loads(said.splitlines()[-1])
    assert list(saw["late events"].values()) == [True] * 3, saw["late events"]
    assert saw["passed on"]
    assert (saw["answered"], saw["by"], saw["output"]) == ("done", ["Grace"], "late")
    assert (saw["late"], saw["cleared"], saw["stopped"]) == ("cancelled",) * 3

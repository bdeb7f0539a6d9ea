"""The operator in a whole Airflow, with scheduler, triggerer and workers of two slots. `make test-airflow`."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.airflow.conftest import ALONE, OwnAirflow

pytestmark = pytest.mark.live


def test_tasks_that_are_answered_retried_killed_and_cleared(airflow: OwnAirflow) -> None:
    """One Airflow for all of it: its start alone takes half a minute."""
    if subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip(
            "network namespaces are not allowed here (unshare -rn), and Airflow listens on all interfaces"
        )
    saw = json.loads(
        airflow("-m", "tests.airflow.apart.scenario", str(airflow.folder), alone=True).splitlines()[-1]
    )
    assert "error" not in saw, saw

    assert saw["asked"]["subject"] == "Refund 20?"
    assert saw["asked"]["options"] == ["Approve", "Reject"]
    assert "to Ada" in saw["asked"]["body"]
    assert saw["asks"][:2] == ["success", "late parcel"]
    assert "gate of task 1 asks: the answer is a required action of this task" in saw["asks log"]

    ((run, state),) = saw["flaky runs"]  # the retry went on with the run, and its first step ran once
    assert (state, saw["flaky"]) == ("done", ["success", "2 after 1", 1])
    assert f"{run} started: flaky" in saw["flaky log"]
    assert "second failed: exited with 1" in saw["flaky log"]
    assert f"{run} was failed: 1 step of 1 task again" in saw["flaky log 2"]

    assert [state for _, state in saw["marked"]] == ["cancelled"]
    assert [state for _, state in saw["held"]] == ["cancelled"]
    assert [state for _, state in saw["late"]] == ["cancelled"]

    assert [state for _, state in saw["restarted, without a triggerer"]] == ["running"]
    assert saw["restarted"] == ["success", "2 after 1"]
    assert [state for _, state in saw["restarted runs"]] == ["done"]

    assert saw["cleared"] == ["success", "2 after 1", 1]
    assert [state for _, state in saw["cleared runs"]] == ["cancelled", "done"]

"""The example of a place on a cluster: on a Dask cluster of this machine, which is started for it."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import ROOT, Deck

FOLDER = ROOT / "workflows" / "places"


def test_the_cluster_of_the_example_reports_its_workers(deck: Deck) -> None:
    pytest.importorskip("distributed")
    done = deck("places", "dev", "--folder", FOLDER, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (place,) = json.loads(done.stdout)["places"]
    assert (place["type"], place["slots"], place["problem"]) == ("dask", 4, "")
    assert sorted(one["name"] for one in place["workers"]) == ["worker-1", "worker-2"]
    for worker in place["workers"]:
        assert (worker["threads"], worker["problem"]) == (2, "")
        assert worker["memory"] > 0
        assert worker["latency"] > 0
        assert worker["python"]
        assert worker["version"]


def test_the_example_runs_on_workers(deck: Deck) -> None:
    pytest.importorskip("distributed")
    done = deck("run", FOLDER / "primes.yaml", "-i", "below=1000", "-i", "parts=4")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["primes"] == 168
    workers = json.loads(deck("show", "last", "--json").stdout)["place_workers"]
    assert sum(one["done"] for one in workers.values()) == 8
    step = json.loads(deck("step", "last", "1", "count[0]", "--json").stdout)
    assert step["place"] == "dev"
    assert step["attempts"][0]["worker"] in workers


def test_what_to_install_is_said_where_dask_is_missing(deck: Deck) -> None:
    without = deck.folder / "without"
    without.mkdir()
    (without / "sitecustomize.py").write_text("import sys\nsys.modules['distributed'] = None\n")
    # An interpreter of its own, which reads sitecustomize.py: other commands are forks of one.
    done = deck("check", FOLDER / "primes.yaml", PYTHONPATH=f"{without}:{ROOT}", PYTHONUTF8="1")
    assert done.returncode == 2
    assert "Dask is not installed; pip install 'agentdeck[dask]'" in done.stdout

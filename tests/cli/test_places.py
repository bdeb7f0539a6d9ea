"""`agentdeck places`."""

from __future__ import annotations

import json
import os
import platform
import sys

from agentdeck import __version__
from tests.cli.conftest import Deck
from tests.plugin_packages import write_package

CLUSTER = """
import asyncio

from agentdeck.errors import UsageError
from agentdeck.places.place import Place
from agentdeck.places.report import PlaceReport, WorkerReport

print("on import")


class Cluster(Place):
    def prepare(self, agent, context):
        raise NotImplementedError

    async def report(self, children):
        print("in report")
        if self.config.name == "far":
            raise UsageError("nothing answers at 10.0.0.5:8786; is it the scheduler's address?")
        if self.config.name == "broken":
            raise ValueError("[red]oops")
        return PlaceReport((
            WorkerReport("w1", 4, 3.2, 180_000_000, "3.11.9", "0.2.0", "2026.8.0", 0.0111),
            WorkerReport("w2\\x1b[1m", 16, 99.6, 2_300_000_000, "3.12.1", "0.1.0", "", 0.21, "agentdeck 0.1.0"),
        ))


class Silent(Place):
    def prepare(self, agent, context):
        raise NotImplementedError
"""


def test_interpreters_of_this_machine(deck: Deck) -> None:
    deck.write("deck.yaml", "agentdeck: 1\nplaces:\n  crew: { type: process, slots: 4 }\n")
    done = deck("places")
    assert done.returncode == 0, done.stderr
    title, header, crew, empty, local, _, engine = done.stdout.splitlines()
    assert (title, empty, local) == ("crew: process, 4 slots", "", "local")
    assert header.split() == ["worker", "python", "agentdeck", "latency"]
    assert crew.split()[:3] == [sys.executable, platform.python_version(), __version__]
    assert engine.split() == [sys.executable, platform.python_version(), __version__]


def test_one_place_as_json(deck: Deck) -> None:
    deck.write(
        "deck.yaml", "agentdeck: 1\nplaces:\n  crew: { type: process }\n  bad: { type: process, python: no }\n"
    )
    done = deck("places", "crew", "--json", "--folder", deck.folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["ok"], found["deck"]) == (True, str(deck.folder / "deck.yaml"))
    (place,) = found["places"]
    (worker,) = place["workers"]
    assert (place["name"], place["slots"], place["ok"], worker["threads"]) == ("crew", None, True, None)
    assert worker["latency"] > 0


def test_a_place_that_cannot_be_used_has_its_reason(deck: Deck) -> None:
    deck.write(
        "deck.yaml", "agentdeck: 1\nplaces:\n  crew: { type: process }\n  bad: { type: process, python: no }\n"
    )
    done = deck("places")
    assert done.returncode == 3
    assert (
        "bad: process\n  cannot be used: the place bad has no Python: there is no no; python3 -m venv"
        in done.stdout
    )
    assert "crew: process\n  worker" in done.stdout
    bad = json.loads(deck("places", "bad", "--json").stdout)
    assert not bad["ok"]
    assert bad["places"][0]["problem"].startswith("the place bad has no Python")


def test_without_a_deck_there_is_the_engines_own_process(deck: Deck) -> None:
    done = deck("places", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert (found["deck"], [one["name"] for one in found["places"]]) == (None, ["local"])


def test_a_name_that_is_none(deck: Deck) -> None:
    deck.write("deck.yaml", "agentdeck: 1\nplaces:\n  crew: { type: process }\n")
    done = deck("places", "crwe")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "agentdeck: the deck has no place crwe; did you mean crew?\n"


def test_a_deck_with_faults(deck: Deck) -> None:
    deck.write("deck.yaml", "agentdeck: 1\nplaces:\n  crew: { type: procss }\n")
    done = deck("places")
    assert (done.returncode, done.stdout) == (2, "")
    assert "deck.yaml:3:17" in done.stderr


def test_workers_of_a_cluster(deck: Deck) -> None:
    entries = {"places": {"cluster": "acme_places:Cluster", "silent": "acme_places:Silent"}}
    write_package(deck.folder / "installed", "acme", entries, {"acme_places": CLUSTER})
    deck.write(
        "deck.yaml",
        "agentdeck: 1\nplaces:\n  big: { type: cluster, slots: 200 }\n  far: { type: cluster, slots: 1 }\n"
        "  broken: { type: cluster }\n  silent: { type: silent }\n",
    )
    path = os.pathsep.join([str(deck.folder / "installed"), deck.env["PYTHONPATH"]])
    done = deck("places", "big", "far", "broken", "silent", PYTHONPATH=path)
    assert done.returncode == 3
    assert done.stdout.splitlines() == [
        "big: cluster, 200 slots, 2 workers",
        "  worker  threads   load  memory  python  agentdeck  version   latency",
        "  w1            4    3 %  180 MB  3.11.9  0.2.0      2026.8.0    11 ms",
        "  w2           16  100 %  2.3 GB  3.12.1  0.1.0      -          210 ms",
        "  cannot be used: w2: agentdeck 0.1.0",
        "",
        "far: cluster, 1 slot",
        "  cannot be used: nothing answers at 10.0.0.5:8786; is it the scheduler's address?",
        "",
        "broken: cluster",
        "  cannot be used: it cannot report: ValueError: [red]oops",
        "",
        "silent",
    ]
    assert done.stderr.count("in report") == 3
    found = json.loads(deck("places", "big", "--json", PYTHONPATH=path).stdout)
    (big,) = found["places"]
    assert big["problem"] == "w2\x1b[1m: agentdeck 0.1.0"
    assert [one["memory"] for one in big["workers"]] == [180_000_000, 2_300_000_000]

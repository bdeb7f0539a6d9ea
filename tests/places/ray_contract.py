"""The contract of places for `ray`. `test_ray.py` executes it beside the nodes: `pytest ray_contract.py`."""

from __future__ import annotations

from typing import ClassVar

from agentdeck.testing.place_contract import PlaceContract
from agentdeck.workflow.model import Data
from tests.places.ray_cluster import ADDRESS, LONG


class TestContract(PlaceContract):
    name = "ray"
    keys: ClassVar[dict[str, Data]] = {"address": ADDRESS, "slots": 50}
    connects_within = LONG  # Ray starts a process for each host

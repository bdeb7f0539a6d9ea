"""The place `process`: attempts in child interpreters."""

from __future__ import annotations

from agentdeck.testing.place_contract import PlaceContract


class TestContract(PlaceContract):
    name = "process"

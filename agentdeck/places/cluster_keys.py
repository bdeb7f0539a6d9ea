"""The keys that all places on clusters have in the deck."""

from __future__ import annotations

from typing import Literal

from agentdeck.workflow.deck_file import PlaceSpec, Workers
from agentdeck.workflow.file_model import ABSENT


class ClusterPlaceSpec(PlaceSpec):
    """Workers of a cluster. A cluster has no bound of its own that fits coroutines, so the deck says it."""

    slots: Workers
    code: Literal["path", "ship"] = ABSENT

"""`ray`: the nodes of a Ray cluster."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agentdeck.places.cluster_place import ClusterPlace
from agentdeck.workflow.deck import DeckPlace

if TYPE_CHECKING:
    from agentdeck.workflow.deck_file import PlaceSpec


class RayPlace(ClusterPlace):
    """Nothing of Ray is imported in the engine's process."""

    cluster = "agentdeck.places.ray_cluster:RayCluster"
    variables = ("RAY_",)

    @classmethod
    def spec(cls) -> type[PlaceSpec]:
        from agentdeck.places.ray_keys import RayPlaceSpec

        return RayPlaceSpec

    @classmethod
    def faults(cls, config: DeckPlace) -> Iterator[tuple[str, str, str]]:
        if importlib.util.find_spec("ray") is None:
            yield "type", "Ray is not installed", "pip install 'agentdeck[ray]'"

"""`dask`: the workers of a Dask cluster, or of one that is started on this machine for the run."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from agentdeck.places.cluster_place import ClusterPlace
from agentdeck.workflow.deck import DeckPlace

if TYPE_CHECKING:
    from agentdeck.workflow.deck_file import PlaceSpec


class DaskPlace(ClusterPlace):
    """Nothing of Dask is imported in the engine's process."""

    cluster = "agentdeck.places.dask_cluster:DaskCluster"
    variables = ("DASK_",)

    @classmethod
    def spec(cls) -> type[PlaceSpec]:
        from agentdeck.places.dask_keys import DaskPlaceSpec

        return DaskPlaceSpec

    @classmethod
    def faults(cls, config: DeckPlace) -> Iterator[tuple[str, str, str]]:
        if importlib.util.find_spec("distributed") is None:
            yield "type", "Dask is not installed", "pip install 'agentdeck[dask]'"
        for key, file in config.options.get("tls", {}).items():
            if not (path := config.folder / Path(file).expanduser()).is_file():
                yield "tls", f"there is no file {path}", f"correct {key}"

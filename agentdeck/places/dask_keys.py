"""The keys of a place of the type `dask` in the deck."""

from __future__ import annotations

from math import prod
from typing import Any

from pydantic import model_validator

from agentdeck.places.cluster_keys import ClusterPlaceSpec
from agentdeck.workflow.deck_file import MAX_WORKERS, Workers
from agentdeck.workflow.file_model import ABSENT, FileModel, Text


class TlsSpec(FileModel):
    """Files of keys for a cluster that speaks TLS, relative to the deck."""

    ca: Text
    cert: Text
    key: Text


class LocalSpec(FileModel):
    """A cluster of this machine, for one run. `slots` are those of each worker."""

    workers: Workers
    slots: Workers


class DaskPlaceSpec(ClusterPlaceSpec):
    """The workers of a Dask cluster."""

    ONE_OF = ("address", "local")
    CHOICE = "cluster"
    address: Text = ABSENT
    tls: TlsSpec = ABSENT
    local: LocalSpec = ABSENT

    @model_validator(mode="before")
    @classmethod
    def _slots_of_all_workers(cls, place: Any) -> Any:
        """A cluster of this machine says itself how many slots it has."""
        if not isinstance(place, dict) or "local" not in place or "slots" in place:
            return place
        local = place["local"] if isinstance(place["local"], dict) else {}
        counts = [local.get(name) for name in ("workers", "slots")]
        slots = prod(count if isinstance(count, int) and count > 0 else 1 for count in counts)
        return {**place, "slots": min(slots, MAX_WORKERS)}

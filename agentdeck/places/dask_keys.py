"""The keys of a place of the type `dask` in the deck."""

from __future__ import annotations

import re
from math import prod
from typing import Annotated, Any, Self

from pydantic import AfterValidator, WithJsonSchema, model_validator

from agentdeck.places.cluster_keys import ClusterPlaceSpec
from agentdeck.workflow.deck_file import MAX_WORKERS, Workers
from agentdeck.workflow.file_model import ABSENT, FileModel, Text, fault


class TlsSpec(FileModel):
    """Files of keys for a cluster that speaks TLS, relative to the deck."""

    ca: Text
    cert: Text
    key: Text


class LocalSpec(FileModel):
    """A cluster of this machine, for one run. `slots` are those of each worker."""

    workers: Workers
    slots: Workers


ADDRESS = r"(?:(?:tcp|tls|ucx|wss?)://)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}"


def _address(value: str) -> str:
    if not re.fullmatch(ADDRESS, value) or not 0 < int(value.rpartition(":")[2]) < 65536:
        raise fault(
            f"{value!r} is not the address of a scheduler of Dask", "tcp://host:port, such as tcp://10.0.0.5:8786"
        )
    return value


class DaskPlaceSpec(ClusterPlaceSpec):
    """The workers of a Dask cluster."""

    ONE_OF = ("address", "local")
    CHOICE = "cluster"
    address: Annotated[
        Text, AfterValidator(_address), WithJsonSchema({"type": "string", "pattern": f"^{ADDRESS}$"})
    ] = ABSENT
    tls: TlsSpec = ABSENT
    local: LocalSpec = ABSENT

    @model_validator(mode="after")
    def _tls_of_others(self) -> Self:
        if isinstance(self.tls, TlsSpec) and isinstance(self.local, LocalSpec):
            raise fault("a cluster of this machine has no TLS", "remove tls")
        return self

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

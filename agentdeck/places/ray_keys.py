"""The keys of a place of the type `ray` in the deck."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from agentdeck.places.cluster_keys import ClusterPlaceSpec
from agentdeck.workflow.file_model import ABSENT, Amount, Table, Text, fault

ADDRESS = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}"


def _address(value: str) -> str:
    if value.startswith("ray://"):
        raise fault(
            "the protocol of Ray's client (ray://) is not used here",
            "the address of the head's GCS, such as host:6379",
        )
    if not re.fullmatch(ADDRESS, value) or not 0 < int(value.rpartition(":")[2]) < 65536:
        raise fault(f"{value!r} is not the address of a Ray head", "host:port, such as 10.0.0.6:6379")
    return value


class RayPlaceSpec(ClusterPlaceSpec):
    """Nodes of a Ray cluster. Where it has `resources`, each slot holds them."""

    address: Annotated[
        Text, AfterValidator(_address), WithJsonSchema({"type": "string", "pattern": f"^{ADDRESS}$"})
    ]
    resources: Annotated[dict[str, Amount], Field(min_length=1), Table(raw=True)] = ABSENT

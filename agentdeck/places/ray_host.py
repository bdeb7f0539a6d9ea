"""A host on a node of a Ray cluster: an actor, in a process of its own that Ray starts there."""

from __future__ import annotations

import os
import threading
import time

import ray

from agentdeck.places.host import Host

#: Seconds between two looks at the raylet.
LOOK = 0.2


class RayHost(Host):
    async def begin(self) -> str:
        """Start it; returns the id of its node."""
        await self.start()
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        node: str = ray.get_runtime_context().get_node_id()
        return node


def _end_with(raylet: int) -> None:
    """A node whose raylet has ended is dead for Ray, though its actors do not notice: they would go on with what
    is made again elsewhere."""
    while os.getppid() == raylet:
        time.sleep(LOOK)
    os._exit(1)

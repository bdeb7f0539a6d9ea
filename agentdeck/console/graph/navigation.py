"""Moving in the graph with the arrow keys: along edges left and right, and up and down a layer. Pure."""

from __future__ import annotations

from typing import Literal

from agentdeck.console.graph.nodes import Needs
from agentdeck.console.graph.scene import Scene
from agentdeck.console.graph.status_map import StatusMap

Way = Literal["left", "right", "up", "down"]


def step(drawing: Scene | StatusMap, needs: Needs, below: Needs, selected: str, way: Way) -> str:
    """The next agent in a direction; empty where there is none. Without a selection, the first agent."""
    if isinstance(drawing, StatusMap):
        return _in_map(drawing, needs, below, selected, way)
    at = drawing.node_of.get(selected, "")
    layers = drawing.layout.layers
    if not at:
        return layers[0][0] if layers else ""
    boxes = drawing.layout.boxes
    if way in ("left", "right"):
        edges = drawing.edges[at]
        near = [source for source, target in edges if target == at] if way == "left" else []
        near += [target for source, target in edges if source == at] if way == "right" else []
        return min(near, key=lambda name: (abs(boxes[name].pin - boxes[at].pin), boxes[name].pin), default="")
    layer = next(layer for layer in layers if at in layer)
    index = layer.index(at) + (1 if way == "down" else -1)
    return layer[index] if 0 <= index < len(layer) else ""


def _in_map(drawing: StatusMap, needs: Needs, below: Needs, selected: str, way: Way) -> str:
    names = list(drawing.names)
    if selected not in needs:
        return names[0] if names else ""
    if way in ("left", "right"):
        return next(iter(needs[selected] if way == "left" else below[selected]), "")
    index = names.index(selected) + (1 if way == "down" else -1)
    return names[index] if 0 <= index < len(names) else ""

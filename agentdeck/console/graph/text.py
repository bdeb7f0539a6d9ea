"""A workflow's graph as plain text, for previews where nothing runs."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

from agentdeck.console.graph.nodes import edges_of, nodes_of
from agentdeck.console.graph.scene import best, scene
from agentdeck.workflow.model import Definition

#: How high a preview may get before it is drawn with less detail.
ROWS = 24


def draw_text(definition: Definition, width: int, height: int = ROWS) -> list[str]:
    """The graph in lines of at most `width` cells, cut off on the right where it is wider; at most `height` of
    them, the last one then telling how many agents there are in all."""
    nodes, needs = nodes_of(definition), edges_of(definition)
    level = best(nodes, needs, {}, width, height)
    drawn = scene(nodes, needs, {}, "groups" if level == "map" else level, width, height)
    lines = []
    for y in range(min(drawn.height, height)):
        _, spans = drawn.row(y, 0, width)
        text = "".join(text for text, _ in spans)
        lines.append(set_cell_size(text, width).rstrip() if cell_len(text) > width else text.rstrip())
    if drawn.height > height or drawn.width > width:
        lines[height - 1 :] = [f"… {len(nodes)} agents in {len(drawn.layout.layers)} layers"]
    return lines

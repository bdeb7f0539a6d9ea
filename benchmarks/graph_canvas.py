"""The graph pane: how long it takes to lay a graph out, to show it first, and to bring a frame up to date.

    python -m benchmarks.graph_canvas

CPU milliseconds, the best of five. A frame is one tick after 100 steps started and the repaint of all it shows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from textual.app import App, ComposeResult

from agentdeck.agents.simulate import Simulate
from agentdeck.console.graph.layout import lay_out
from agentdeck.console.graph.pane import GraphPane
from agentdeck.scheduler import events as ev
from agentdeck.views.run_view import RunView
from agentdeck.workflow.model import Agent, Definition
from benchmarks.graphs import ORDER, Needs, chain, fan, layered

GRAPHS: dict[str, Needs] = {
    "order": ORDER,
    "layered 4 x 5": layered(4, 5),
    "chain 50": chain(50),
    "fan 1,000": fan(1000),
    "layered 10 x 100": layered(10, 100),
    "layered 100 x 100": layered(100, 100),
}


def cpu(what: Callable[[], object], times: int = 5) -> float:
    """Milliseconds of the quickest go."""
    took = []
    for _ in range(times):
        before = time.process_time()
        what()
        took.append(time.process_time() - before)
    return min(took) * 1000


async def show(needs: Needs) -> tuple[str, float, float]:
    """The level that was chosen, the first look and a frame."""
    of = Definition("w", {name: Agent(name, Simulate(), needs=tuple(above)) for name, above in needs.items()})
    view = RunView(of)
    view.apply(1, ev.RunStarted(0.0, "r", "w", "", {}, {}))
    view.apply(2, ev.TaskOpened(0.0, "1", {}))
    app = Shown(of)
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.pause()
        before = time.process_time()
        app.graph.tick(view, 0.0)
        paint(app.graph)
        first = (time.process_time() - before) * 1000
        names, now = iter(of.agents), 0.0

        def frame() -> None:
            nonlocal now
            now += 0.05
            for _, name in zip(range(100), names, strict=False):
                view.apply(view.seq + 1, ev.StepStarted(now, "1", name, name, 1, now))
            app.graph.tick(view, now)
            paint(app.graph)

        return app.graph.level, first, cpu(frame)


def paint(pane: GraphPane) -> None:
    for y in range(pane.size.height):
        pane.render_line(y)


class Shown(App[None]):
    def __init__(self, of: Definition) -> None:
        super().__init__()
        self.graph = GraphPane(of)

    def compose(self) -> ComposeResult:
        yield self.graph


def main() -> None:
    print(f"{'graph':20} {'nodes':>6} {'layout':>8} {'level':>8} {'first':>8} {'frame':>8}")
    for name, needs in GRAPHS.items():
        sizes = dict.fromkeys(needs, (14, 1))
        laid = cpu(lambda needs=needs, sizes=sizes: lay_out(needs, sizes, apart=0))  # type: ignore[misc]
        level, first, frame = asyncio.run(show(needs))
        print(f"{name:20} {len(needs):6} {laid:8.1f} {level:>8} {first:8.1f} {frame:8.1f}")


if __name__ == "__main__":
    main()
